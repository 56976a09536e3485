/* Integers, floating point, memory, signals, processes and threads from a compiled program. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_long counter;
static sigjmp_buf back;

static void *add(void *arg) {
    (void)arg;
    for (int i = 0; i < 50000; i++) atomic_fetch_add(&counter, 1);
    return NULL;
}

static void fault(int signal) { siglongjmp(back, signal); }

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(void) {
    uint64_t hash = 14695981039346656037u;
    for (uint64_t i = 0; i < 1000000; i++) hash = (hash ^ (i * i >> 3)) * 1099511628211u;
    printf("%016llx\n", (unsigned long long)hash);
    __uint128_t wide = (__uint128_t)hash * hash;
    printf("%016llx %lld\n", (unsigned long long)(wide >> 64), (long long)((int64_t)hash / 7919));
    double sum = 0;
    for (int i = 1; i < 1000; i++) sum += sin(i) * exp(-i / 500.0) + sqrt(i) - cbrt(i);
    printf("%.12g %a %a %.9g\n", sum, 1.0 / 3, fma(1e16, 1 + 0x1p-52, -1e16), (double)sqrtf(2));
    uint32_t *numbers = malloc(200000 * sizeof *numbers), state = 1;
    for (int i = 0; i < 200000; i++) numbers[i] = state = state * 1664525 + 1013904223;
    qsort(numbers, 200000, sizeof *numbers, compare);
    printf("%u %u %u\n", numbers[0], numbers[100000], numbers[199999]);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, add, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    printf("%ld\n", atomic_load(&counter));
    signal(SIGSEGV, fault);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int caught = sigsetjmp(back, 1);
    if (caught == 0) *(volatile char *)page = 1;
    printf("caught %d\n", caught);
    fflush(stdout);
    int status = 0;
    for (int i = 0; i < 20; i++) {
        if (fork() == 0) _exit(i);
        int one;
        wait(&one);
        status += WEXITSTATUS(one);
    }
    printf("%d\n", status);
    return 0;
}
