/* Vector instructions that compilers seldom choose by themselves: segments, fault-only-first, permutations, masks,
   fixed point, widening and narrowing, ordered sums, half precision, bit manipulation, carry-less products. */
#include <riscv_vector.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define N 517

static uint64_t seed = 0x123456789abcdef1u;

static uint64_t next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void show(const char *name, const void *data, size_t size) {
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    while (size--) h = (h ^ *p++) * 0x100000001b3u;
    printf("%-24s %016llx\n", name, (unsigned long long)h);
}

static void segments(void) {
    static uint8_t rgb[3 * N], out[3 * N];
    for (int i = 0; i < 3 * N; i++) rgb[i] = (uint8_t)next();
    for (size_t i = 0, vl; i < N; i += vl) {
        vl = __riscv_vsetvl_e8m2(N - i);
        vuint8m2x3_t v = __riscv_vlseg3e8_v_u8m2x3(rgb + 3 * i, vl);
        vuint8m2_t r = __riscv_vget_v_u8m2x3_u8m2(v, 0), g = __riscv_vget_v_u8m2x3_u8m2(v, 1), b = __riscv_vget_v_u8m2x3_u8m2(v, 2);
        v = __riscv_vset_v_u8m2_u8m2x3(v, 0, __riscv_vaaddu_vv_u8m2(r, b, __RISCV_VXRM_RNE, vl));
        v = __riscv_vset_v_u8m2_u8m2x3(v, 1, __riscv_vsaddu_vv_u8m2(g, r, vl));
        v = __riscv_vset_v_u8m2_u8m2x3(v, 2, __riscv_vssubu_vv_u8m2(b, g, vl));
        __riscv_vsseg3e8_v_u8m2x3(out + 3 * i, v, vl);
    }
    show("segments", out, sizeof out);
}

/* strlen up to the last byte before a page that is not there. */
static void first_fault(void) {
    char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED || munmap(m + 4096, 4096)) exit(2);
    size_t lengths[40];
    for (int k = 0; k < 40; k++) {
        char *s = m + 4096 - (k * k + 1);
        memset(s, 'x', (size_t)(k * k));
        m[4095] = 0;
        size_t done = 0;
        for (;;) {
            size_t vl = __riscv_vsetvlmax_e8m8();
            vuint8m8_t v = __riscv_vle8ff_v_u8m8((uint8_t *)s + done, &vl, vl);
            long at = __riscv_vfirst_m_b1(__riscv_vmseq_vx_u8m8_b1(v, 0, vl), vl);
            if (at >= 0) { done += (size_t)at; break; }
            done += vl;
        }
        lengths[k] = done;
        if (done != (size_t)(k * k)) printf("wrong length %zu for %d\n", done, k * k);
    }
    show("fault-only-first", lengths, sizeof lengths);
}

static void permute(void) {
    static uint32_t a[N], out[4][N];
    for (int i = 0; i < N; i++) a[i] = (uint32_t)next();
    size_t kept = 0;
    for (size_t i = 0, vl; i < N; i += vl) {
        vl = __riscv_vsetvl_e32m4(N - i < 4 ? N - i : 4 + (N - i) % 9 % 4);
        vuint32m4_t v = __riscv_vle32_v_u32m4(a + i, vl);
        vuint32m4_t back = __riscv_vrsub_vx_u32m4(__riscv_vid_v_u32m4(vl), vl - 1, vl);
        __riscv_vse32_v_u32m4(out[0] + i, __riscv_vrgather_vv_u32m4(v, back, vl), vl);
        __riscv_vse32_v_u32m4(out[1] + i, __riscv_vslide1up_vx_u32m4(v, 7, vl), vl);
        vbool8_t odd = __riscv_vmsne_vx_u32m4_b8(__riscv_vand_vx_u32m4(v, 1, vl), 0, vl);
        __riscv_vse32_v_u32m4(out[2] + i, __riscv_viota_m_u32m4_m(odd, odd, vl), vl);
        vuint32m4_t packed = __riscv_vcompress_vm_u32m4(v, odd, vl);
        size_t n = __riscv_vcpop_m_b8(odd, vl);
        __riscv_vse32_v_u32m4(out[3] + kept, packed, n);
        kept += n;
    }
    show("permutations", out, sizeof out);
    printf("kept %zu\n", kept);
}

static void fixed_point(void) {
    static int16_t a[N], b[N], out[3][N];
    static int8_t narrow[4][N];
    for (int i = 0; i < N; i++) { a[i] = (int16_t)next(); b[i] = (int16_t)(next() >> (next() & 15)); }
    a[3] = b[3] = INT16_MIN;
    for (size_t i = 0, vl; i < N; i += vl) {
        vl = __riscv_vsetvl_e16m2(N - i);
        vint16m2_t x = __riscv_vle16_v_i16m2(a + i, vl), y = __riscv_vle16_v_i16m2(b + i, vl);
        __riscv_vse16_v_i16m2(out[0] + i, __riscv_vsmul_vv_i16m2(x, y, __RISCV_VXRM_RNU, vl), vl);
        __riscv_vse16_v_i16m2(out[1] + i, __riscv_vssra_vx_i16m2(x, 5, __RISCV_VXRM_ROD, vl), vl);
        __riscv_vse16_v_i16m2(out[2] + i, __riscv_vasub_vv_i16m2(x, y, __RISCV_VXRM_RDN, vl), vl);
        __riscv_vse8_v_i8m1(narrow[0] + i, __riscv_vnclip_wx_i8m1(x, 3, __RISCV_VXRM_RNU, vl), vl);
        __riscv_vse8_v_i8m1(narrow[1] + i, __riscv_vnclip_wx_i8m1(x, 6, __RISCV_VXRM_RNE, vl), vl);
        __riscv_vse8_v_i8m1(narrow[2] + i, __riscv_vnsra_wx_i8m1(x, 7, vl), vl);
        vint32m4_t wide = __riscv_vwmacc_vv_i32m4(__riscv_vwmul_vv_i32m4(x, y, vl), x, x, vl);
        __riscv_vse8_v_i8m1(narrow[3] + i, __riscv_vncvt_x_x_w_i8m1(__riscv_vncvt_x_x_w_i16m2(wide, vl), vl), vl);
    }
    show("fixed point", out, sizeof out);
    show("narrowing", narrow, sizeof narrow);
}

static void floating(void) {
    static double d[N], sums[2][20];
    static float f[N], est[4][N];
    for (int i = 0; i < N; i++) { d[i] = (double)(int64_t)next() / 1e9; f[i] = (float)d[i]; }
    for (int k = 0; k < 20; k++) {
        double ordered = k, wide = 0;
        for (size_t i = 0, vl; i < (size_t)(N - k); i += vl) {
            vl = __riscv_vsetvl_e64m4(N - k - i);
            vfloat64m4_t v = __riscv_vle64_v_f64m4(d + i, vl);
            ordered = __riscv_vfmv_f_s_f64m1_f64(__riscv_vfredosum_vs_f64m4_f64m1(v, __riscv_vfmv_s_f_f64m1(ordered, 1), vl));
            vfloat32m2_t s = __riscv_vle32_v_f32m2(f + i, vl);
            wide = __riscv_vfmv_f_s_f64m1_f64(__riscv_vfwredosum_vs_f32m2_f64m1(s, __riscv_vfmv_s_f_f64m1(wide, 1), vl));
        }
        sums[0][k] = ordered;
        sums[1][k] = wide;
    }
    for (size_t i = 0, vl; i < N; i += vl) {
        vl = __riscv_vsetvl_e32m2(N - i);
        vfloat32m2_t v = __riscv_vle32_v_f32m2(f + i, vl);
        __riscv_vse32_v_f32m2(est[0] + i, __riscv_vfrec7_v_f32m2(v, vl), vl);
        __riscv_vse32_v_f32m2(est[1] + i, __riscv_vfrsqrt7_v_f32m2(__riscv_vfabs_v_f32m2(v, vl), vl), vl);
        __riscv_vse32_v_f32m2(est[2] + i, __riscv_vfncvt_rod_f_f_w_f32m2(__riscv_vle64_v_f64m4(d + i, vl), vl), vl);
        __riscv_vse32_v_f32m2(est[3] + i, __riscv_vfsgnjx_vv_f32m2(v, __riscv_vfmin_vf_f32m2(v, 0.5f, vl), vl), vl);
    }
    show("sums in order", sums, sizeof sums);
    show("estimates", est, sizeof est);
}

static void half(void) {
    static _Float16 a[N], b[N], out[N];
    static float wide[N];
    for (int i = 0; i < N; i++) { a[i] = (_Float16)((int)(next() % 4001) - 2000) / (_Float16)16; b[i] = (_Float16)(int)(next() % 97); }
    for (size_t i = 0, vl; i < N; i += vl) {
        vl = __riscv_vsetvl_e16m2(N - i);
        vfloat16m2_t x = __riscv_vle16_v_f16m2(a + i, vl), y = __riscv_vle16_v_f16m2(b + i, vl);
        __riscv_vse16_v_f16m2(out + i, __riscv_vfmacc_vv_f16m2(x, x, y, vl), vl);
        __riscv_vse32_v_f32m4(wide + i, __riscv_vfwmul_vv_f32m4(x, y, vl), vl);
    }
    show("half precision", out, sizeof out);
    show("half to single", wide, sizeof wide);
}

static void cipher_bits(void) {
    static uint64_t a[N], out[5][N];
    for (int i = 0; i < N; i++) a[i] = next();
    for (size_t i = 0, vl; i < N; i += vl) {
        vl = __riscv_vsetvl_e64m2(N - i);
        vuint64m2_t v = __riscv_vle64_v_u64m2(a + i, vl), w = __riscv_vror_vx_u64m2(v, 13, vl);
        __riscv_vse64_v_u64m2(out[0] + i, __riscv_vandn_vv_u64m2(v, w, vl), vl);
        __riscv_vse64_v_u64m2(out[1] + i, __riscv_vrev8_v_u64m2(w, vl), vl);
        __riscv_vse64_v_u64m2(out[2] + i, __riscv_vctz_v_u64m2(v, vl), vl);
        __riscv_vse64_v_u64m2(out[3] + i, __riscv_vclmul_vv_u64m2(v, w, vl), vl);
        __riscv_vse64_v_u64m2(out[4] + i, __riscv_vclmulh_vv_u64m2(v, w, vl), vl);
    }
    show("bit manipulation", out, sizeof out);
}

int main(void) {
    segments();
    first_fault();
    permute();
    fixed_point();
    floating();
    half();
    cipher_bits();
    return 0;
}
