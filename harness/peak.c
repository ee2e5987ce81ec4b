/* SPDX-License-Identifier: Apache-2.0
 * The loops keep ACCS sums apart: two units x four cycles of latency need 8, and 12 fit
 * the registers of every ISA.  Every loop over them is unrolled: else gcc would store the
 * array in each round.  They begin unlike, else it would compute one for all.  The sums
 * are returned, so that no compiler can drop the loop; the factors come from memory it
 * cannot see through. */
#include "harness/peak.h"

#include "kernels_opt/cpu.h"
#include "kernels_opt/lanes.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__x86_64__)
#include "kernels_opt/x86/tiles_amx.h"

#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { ACCS = 12, ROUNDS = 20000, PIECES = 32, READ_PIECE = 1 << 20 };

double g4_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double g4_median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return 0.5 * (v[(n - 1) / 2] + v[n / 2]);
}

typedef struct peak_run {
    float (*loop)(int64_t rounds, volatile const float *factor);
    volatile float factor[2], sink;   /* sink: written by all, read by nobody */
} peak_run;

#if defined(__x86_64__)

__attribute__((target("avx512f"))) static float loop_avx512(int64_t rounds, volatile const float *f)
{
    __m512 a = _mm512_set1_ps(f[0]), b = _mm512_set1_ps(f[1]), acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = _mm512_set1_ps((float)i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = _mm512_fmadd_ps(a, b, acc[i]);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = _mm512_add_ps(acc[0], acc[i]);
    return _mm512_cvtss_f32(acc[0]);
}

__attribute__((target("avx2,fma"))) static float loop_avx2(int64_t rounds, volatile const float *f)
{
    __m256 a = _mm256_set1_ps(f[0]), b = _mm256_set1_ps(f[1]), acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = _mm256_set1_ps((float)i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = _mm256_fmadd_ps(a, b, acc[i]);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = _mm256_add_ps(acc[0], acc[i]);
    return _mm256_cvtss_f32(acc[0]);
}

#elif defined(__aarch64__)

static float loop_neon(int64_t rounds, volatile const float *f)
{
    float32x4_t a = vdupq_n_f32(f[0]), b = vdupq_n_f32(f[1]), acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = vdupq_n_f32((float)i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = vfmaq_f32(acc[i], a, b);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = vaddq_f32(acc[0], acc[i]);
    return vgetq_lane_f32(acc[0], 0);
}

#endif

/* A CPU without any of these: the definitions' own operation. */
static float loop_c(int64_t rounds, volatile const float *f)
{
    float a = f[0], b = f[1], acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = (float)i;
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = __builtin_fmaf(a, b, acc[i]);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] += acc[i];
    return acc[0];
}

static void run_peak(void *ctx, int64_t begin, int64_t end, int worker)
{
    peak_run *p = ctx;
    (void)worker;
    for (int64_t i = begin; i < end; i++) p->sink = p->loop(ROUNDS, p->factor);
}

/* In small pieces, as kernels' work is: a slower CPU gets fewer of them. */
static double run_for(g4_par *par, peak_run *run, int lanes, double seconds)
{
    int64_t pieces = (int64_t)PIECES * g4_par_threads(par), done = 0;
    double start = g4_now(), now;
    do {
        g4_par_for(par, pieces, 1, run_peak, run);
        done += pieces;
        now = g4_now();
    } while (now - start < seconds);
    return 2.0 * lanes * ACCS * ROUNDS * (double)done / (now - start);
}

double g4_peak_fma(g4_par *par, double seconds)
{
    peak_run run = { .loop = loop_c, .factor = { 0.5f, 0.001f } };
    int lanes = 1;
#if defined(__x86_64__)
    unsigned have = g4_cpu_isas();
    if (have & G4_ISA_avx2) run.loop = loop_avx2, lanes = 8;
    if (have & G4_ISA_avx512) run.loop = loop_avx512, lanes = 16;
#elif defined(__aarch64__)
    if (g4_cpu_isas() & G4_ISA_neon) run.loop = loop_neon, lanes = 4;
#endif
    return run_for(par, &run, lanes, seconds);
}

/* ---- 8 bits ---- */

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512vnni"))) static float
loop8_vnni(int64_t rounds, volatile const float *f)
{
    __m512i a = _mm512_set1_epi32((int)f[0]), b = _mm512_set1_epi32((int)f[1]), acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = _mm512_set1_epi32(i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = _mm512_dpbusd_epi32(acc[i], a, b);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = _mm512_add_epi32(acc[0], acc[i]);
    return (float)_mm512_reduce_add_epi32(acc[0]);
}

/* Whole tiles, 4 sums apart; kernels_opt/x86/linear_panel_amx.c says why it has half of it. */
__attribute__((target("amx-tile,amx-int8"))) static float
loop8_amx(int64_t rounds, volatile const float *f)
{
    tile_config config = { .palette = 1 };
    static const signed char zero[TILE_ROWS * TILE_ROW];
    int32_t sum[TILE_ROWS * TILE_ROW / 4];
    tile_file file = (int)f[0];
    for (int i = 0; i < 8; i++) config.bytes[i] = TILE_ROW, config.rows[i] = TILE_ROWS;
    tile_configure(&file, &config);
    tile_clear(&file, 0);
    tile_clear(&file, 1);
    tile_clear(&file, 2);
    tile_clear(&file, 3);
    tile_load(&file, 4, zero, TILE_ROW);
    tile_load(&file, 5, zero, TILE_ROW);
    for (int64_t n = 0; n < rounds; n++)
        for (int i = 0; i < ACCS; i += 4) {
            tile_dot(&file, 0, 4, 5);
            tile_dot(&file, 1, 4, 5);
            tile_dot(&file, 2, 4, 5);
            tile_dot(&file, 3, 4, 5);
        }
    tile_store(&file, 0, sum, TILE_ROW);
    tile_end(&file);
    return (float)sum[0];
}

/* Not the intrinsic: gcc 12 copies the sums around it, and runs out of registers. */
__attribute__((target("avx2,avxvnni"))) static float
loop8_avxvnni(int64_t rounds, volatile const float *f)
{
    __m256i a = _mm256_set1_epi32((int)f[0]), b = _mm256_set1_epi32((int)f[1]), acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = _mm256_set1_epi32(i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++)
            __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc[i]) : "x"(a), "x"(b));
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = _mm256_add_epi32(acc[0], acc[i]);
    return (float)_mm256_extract_epi32(acc[0], 0);
}

__attribute__((target("avx2"))) static float loop8_avx2(int64_t rounds, volatile const float *f)
{
    __m256i b = _mm256_set1_epi32((int)f[1]), acc[ACCS];
    const int a = (int)f[0];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = _mm256_set1_epi32(a + i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = _mm256_maddubs_epi16(acc[i], b);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = _mm256_add_epi16(acc[0], acc[i]);
    return (float)_mm256_extract_epi32(acc[0], 0);
}

#elif defined(__aarch64__)

__attribute__((target("arch=armv8.2-a+dotprod"))) static float
loop8_dotprod(int64_t rounds, volatile const float *f)
{
    int8x16_t a = vdupq_n_s8((int8_t)f[0]), b = vdupq_n_s8((int8_t)f[1]);
    int32x4_t acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = vdupq_n_s32(i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = vdotq_s32(acc[i], a, b);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = vaddq_s32(acc[0], acc[i]);
    return (float)vaddvq_s32(acc[0]);
}

#endif

double g4_peak_int8(g4_par *par, unsigned isas, double seconds)
{
    peak_run run = { .factor = { 3.0f, 5.0f } };
    int lanes = 0;
#if defined(__x86_64__)
    if (isas & G4_ISA_avx2) run.loop = loop8_avx2, lanes = 32;
    if (isas & G4_ISA_avxvnni) run.loop = loop8_avxvnni, lanes = 32;
    if (isas & G4_ISA_vnni) run.loop = loop8_vnni, lanes = 64;
    if (isas & G4_ISA_amx) run.loop = loop8_amx, lanes = TILE_ROWS * TILE_ROWS * TILE_ROW;
#elif defined(__aarch64__)
    if (isas & G4_ISA_dotprod) run.loop = loop8_dotprod, lanes = 16;
#endif
    return run.loop ? run_for(par, &run, lanes, seconds) : 0;
}

/* ---- BF16 ---- */

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512bf16"))) static float
loop_bf16(int64_t rounds, volatile const float *f)
{
    __m512bh a = (__m512bh)_mm512_set1_ps(f[0]), b = (__m512bh)_mm512_set1_ps(f[1]);
    __m512 acc[ACCS];
G4_UNROLL
    for (int i = 0; i < ACCS; i++) acc[i] = _mm512_set1_ps((float)i);
    for (int64_t n = 0; n < rounds; n++)
G4_UNROLL
        for (int i = 0; i < ACCS; i++) acc[i] = _mm512_dpbf16_ps(acc[i], a, b);
G4_UNROLL
    for (int i = 1; i < ACCS; i++) acc[0] = _mm512_add_ps(acc[0], acc[i]);
    return _mm512_cvtss_f32(acc[0]);
}

#endif

double g4_peak_bf16(g4_par *par, unsigned isas, double seconds)
{
#if defined(__x86_64__)
    peak_run run = { .loop = loop_bf16, .factor = { 0.5f, 0.001f } };
    if (isas & G4_ISA_avx512bf16) return run_for(par, &run, 32, seconds);
#endif
    (void)isas;
    return g4_peak_fma(par, seconds);
}

void g4_peak_huge(void *data, size_t size)
{
    const uintptr_t page = (uintptr_t)2 << 20;
    uintptr_t from = ((uintptr_t)data + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)data + size) / page * page;
    if (from < to) (void)madvise((void *)from, to - from, MADV_HUGEPAGE);   /* a wish */
}

typedef struct read_run {
    const unsigned char *data;
    uint64_t sink;
} read_run;

static void run_read(void *ctx, int64_t begin, int64_t end, int worker)
{
    enum { LINE = 64, AHEAD = 4096 };
    read_run *r = ctx;
    uint64_t a = 0, b = 0, word[2];   /* two words of a line bring all of it */
    (void)worker;
    for (int64_t at = begin; at + LINE <= end; at += LINE) {
        __builtin_prefetch(r->data + at + AHEAD);
        memcpy(&word[0], r->data + at, 8);
        memcpy(&word[1], r->data + at + LINE / 2, 8);
        a += word[0];
        b += word[1];
    }
    __atomic_fetch_add(&r->sink, a + b, __ATOMIC_RELAXED);
}

double g4_peak_read(g4_par *par, const void *data, size_t size, double seconds)
{
    read_run run = { data, 0 };
    double start = g4_now(), now, done = 0;
    do {
        g4_par_for(par, (int64_t)size, READ_PIECE, run_read, &run);
        done += (double)size;
        now = g4_now();
    } while (now - start < seconds);
    return __atomic_load_n(&run.sink, __ATOMIC_RELAXED) == 1 ? 0.0 : done / (now - start);
}
