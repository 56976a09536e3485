/* Prints what the kernel's riscv_hwprobe system call says: a key and its value a line. */
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __NR_riscv_hwprobe
#define __NR_riscv_hwprobe 258
#endif

struct pair {
    int64_t key;
    uint64_t value;
};

int main(void)
{
    struct pair pairs[] = { { 0 }, { 1 }, { 2 }, { 3 }, { 4 }, { 6 } };
    const int count = sizeof pairs / sizeof pairs[0];
    if (syscall(__NR_riscv_hwprobe, pairs, count, 0, NULL, 0) != 0) {
        perror("riscv_hwprobe");
        return 1;
    }
    for (int i = 0; i < count; i++)
        printf("%lld %#llx\n", (long long)pairs[i].key, (unsigned long long)pairs[i].value);
    return 0;
}
