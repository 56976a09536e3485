/* Loops that a compiler turns into vector code: integers of every width, floating point, masks, strides, gathers,
   reductions, conversions. Prints one checksum a loop. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N 1003

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint64_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t sum(const void *data, size_t size) {
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    while (size--) h = (h ^ *p++) * 0x100000001b3u;
    return h;
}

#define SHOW(name, array) printf("%-24s %016llx\n", name, (unsigned long long)sum(array, sizeof array))

#define INTEGER(T, U, name)                                                                          \
    __attribute__((noinline)) static void arith_##name(T *restrict r, const T *a, const T *b, int n) { \
        for (int i = 0; i < n; i++) r[i] = (T)((U)a[i] * (U)3 + (U)b[i]) ^ (a[i] > b[i] ? a[i] : b[i]); \
    }                                                                                                \
    __attribute__((noinline)) static void divide_##name(T *restrict r, const T *a, const T *b, int n) { \
        for (int i = 0; i < n; i++) r[i] = b[i] > 1 ? a[i] / b[i] - a[i] % b[i] : a[i] >> (i & 7);    \
    }                                                                                                \
    __attribute__((noinline)) static T fold_##name(const T *a, int n) {                              \
        U s = 0; T top = a[0]; U x = 0;                                                              \
        for (int i = 0; i < n; i++) { s += (U)a[i]; x ^= (U)a[i]; top = a[i] > top ? a[i] : top; }   \
        return (T)(s ^ x ^ (U)top);                                                                  \
    }                                                                                                \
    static void run_##name(void) {                                                                   \
        static T a[N], b[N], r[3][N];                                                                \
        for (int i = 0; i < N; i++) { a[i] = (T)next(); b[i] = (T)(next() >> (next() & 63)); }       \
        arith_##name(r[0], a, b, N); divide_##name(r[1], a, b, N);                                   \
        for (int i = 0; i < 40; i++) r[2][i] = fold_##name(a + i, N - 3 * i);                        \
        SHOW(#name, r);                                                                              \
    }
INTEGER(int8_t, uint8_t, i8)
INTEGER(uint8_t, uint8_t, u8)
INTEGER(int16_t, uint16_t, i16)
INTEGER(uint16_t, uint16_t, u16)
INTEGER(int32_t, uint32_t, i32)
INTEGER(uint32_t, uint32_t, u32)
INTEGER(int64_t, uint64_t, i64)
INTEGER(uint64_t, uint64_t, u64)

#define FLOATING(T, I, name, root)                                                                   \
    __attribute__((noinline)) static void saxpy_##name(T *restrict y, const T *x, T a, int n) {      \
        for (int i = 0; i < n; i++) y[i] += a * x[i];                                                \
    }                                                                                                \
    __attribute__((noinline)) static void choose_##name(T *restrict r, const T *x, const T *y, int n) { \
        for (int i = 0; i < n; i++) r[i] = x[i] > (T)0 ? root(x[i]) : x[i] / y[i];                   \
    }                                                                                                \
    __attribute__((noinline)) static void convert_##name(I *restrict r, const T *x, int n) {         \
        for (int i = 0; i < n; i++) r[i] = (I)x[i];                                                  \
    }                                                                                                \
    __attribute__((noinline)) static void gemm_##name(T *restrict c, const T *a, const T *b) {       \
        for (int i = 0; i < 37; i++)                                                                 \
            for (int k = 0; k < 37; k++)                                                             \
                for (int j = 0; j < 37; j++) c[i * 37 + j] += a[i * 37 + k] * b[k * 37 + j];         \
    }                                                                                                \
    static void run_##name(void) {                                                                   \
        static T x[37 * 37], y[37 * 37], r[37 * 37]; static I n[37 * 37];                            \
        for (int i = 0; i < 37 * 37; i++) { x[i] = (T)((int)next() >> 8) / (T)4096; y[i] = (T)((int)next() >> 4) / (T)64 + (T)0.25; } \
        choose_##name(r, x, y, 37 * 37); SHOW(#name " choose", r);                                   \
        convert_##name(n, x, 37 * 37); SHOW(#name " convert", n);                                    \
        saxpy_##name(r, x, (T)1.5, 37 * 37); SHOW(#name " saxpy", r);                                \
        gemm_##name(r, x, y); SHOW(#name " gemm", r);                                                \
    }
FLOATING(float, int32_t, f32, sqrtf)
FLOATING(double, int64_t, f64, sqrt)

struct particle { float x, y, z; int tag; };

__attribute__((noinline)) static void swirl(struct particle *restrict r, const struct particle *p, int n) {
    for (int i = 0; i < n; i++) {
        r[i].x = p[i].y - p[i].z;
        r[i].y = p[i].z * 2 - p[i].x;
        r[i].z = p[i].x + p[i].y;
        r[i].tag = p[i].tag + i;
    }
}

__attribute__((noinline)) static void gather(int *restrict r, const int *table, const unsigned *index, int n) {
    for (int i = 0; i < n; i++) r[i] = table[index[i]] + i;
}

__attribute__((noinline)) static void scatter(short *restrict r, const unsigned *index, int n) {
    for (int i = 0; i < n; i++) r[index[i] * 2] = (short)(i * 7);
}

__attribute__((noinline)) static void bits(uint32_t *restrict r, const uint32_t *a, int n) {
    for (int i = 0; i < n; i++) {
        uint32_t v = a[i];
        r[i] = (v << 7 | v >> 25) ^ __builtin_bswap32(v) ^ (uint32_t)__builtin_popcount(v) ^ (v & ~(v >> 3));
    }
}

int main(void) {
    run_i8(); run_u8(); run_i16(); run_u16(); run_i32(); run_u32(); run_i64(); run_u64();
    run_f32(); run_f64();

    static struct particle p[N], q[N];
    for (int i = 0; i < N; i++) p[i] = (struct particle){(float)(next() & 4095), (float)(next() & 255), (float)(int16_t)next(), i};
    swirl(q, p, N);
    SHOW("structures", q);

    static int table[N], got[N];
    static unsigned index[N], words[N], turned[N];
    static short spread[2 * N];
    for (int i = 0; i < N; i++) { table[i] = (int)next(); index[i] = (unsigned)(next() % N); words[i] = (unsigned)next(); }
    gather(got, table, index, N);
    SHOW("gather", got);
    for (int i = 0; i < N; i++) index[i] = (unsigned)((i * 17) % N);
    scatter(spread, index, N);
    SHOW("scatter", spread);
    bits(turned, words, N);
    SHOW("bits", turned);

    static char text[3 * N], copy[3 * N];
    for (int i = 0; i < 3 * N - 1; i++) text[i] = (char)('a' + next() % 26);
    for (int n = 1; n < 900; n += 97) {
        memcpy(copy + n, text + n / 3, (size_t)n);
        memmove(copy + n / 2, copy + n, (size_t)n);
        memset(copy + 2 * n, n, (size_t)(n / 5));
    }
    SHOW("copies", copy);
    printf("%zu %d %d\n", strlen(text), strcmp(text, copy) > 0, memchr(text, 0, sizeof text) == text + 3 * N - 1);
    return 0;
}
