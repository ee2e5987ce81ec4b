/* SPDX-License-Identifier: Apache-2.0
 * Random weights that keep activations and errors sane at any depth:
 *   matrices     N(0, 1/columns)          a row's dot product keeps its variance
 *   embeddings   N(0, (1.6)^2/columns)    logits a few units wide, after final norm
 *   positions    N(0, 0.3^2)
 *   norm weights N(1, 0.25^2)   biases N(0, 0.1^2)   layer_scalar U(0.95, 1)
 *     q_norm, k_norm times H^-1/4: scores q.k then spread by 1 and not by sqrt(H)
 *     post_..._layernorm times 1/4: a branch adds a sixth of the residual stream
 * Without the last two every layer triples a rounding difference, and after a
 * dozen of the 12B's 48 two engines have nothing in common any more [N44].
 *   orderings    a permutation: i -> (a i + b) mod n, a prime to n
 * N is the sum of four uniform 16-bit numbers out of one 64-bit random number
 * (Irwin-Hall, within 3.47 sigma, so norm weights stay positive): integers until
 * one last float64 product, hence the same bits everywhere, and about 1 ns each. */
#include "harness/synth.h"
#include "ref/base/half.h"
#include "ref/base/rng.h"

#include <math.h>
#include <string.h>

typedef struct law {
    double mean, scale;      /* value = mean + scale * (sum of four - 131070) */
} law;

static int named(const g4_shape_tensor *t, const char *part)
{
    return strstr(t->name, part) != NULL;
}

/* FNV-1a of its name. */
uint64_t g4_synth_stream(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

/* Standard deviation of four uniform numbers 0..65535 added: sqrt(4 (2^32 - 1) / 12). */
static double irwin_hall_sigma(void)
{
    return sqrt(4294967295.0 / 3.0);
}

static law law_of(const g4_shape_tensor *t)
{
    double columns = (double)t->shape[t->rank - 1], mean = 0, sigma = 0, by = 1;
    if (named(t, ".q_norm.") || named(t, ".k_norm.")) by = 1 / sqrt(sqrt(columns));
    if (named(t, ".post_") && named(t, "_layernorm.")) by = 0.25;
    switch (t->role) {
    case G4_ROLE_LINEAR: sigma = 1 / sqrt(columns); break;
    case G4_ROLE_TABLE: sigma = t->rank == 2 ? 1.6 / sqrt(columns) : 0.3; break;
    case G4_ROLE_NORM: mean = by, sigma = 0.25 * by; break;
    case G4_ROLE_BIAS: sigma = 0.1; break;
    case G4_ROLE_SCALAR:
    case G4_ROLE_ORDER: break;
    }
    return (law){ mean, sigma / irwin_hall_sigma() };
}

static inline float normal(const law *w, uint64_t seed, uint64_t stream, uint64_t i)
{
    uint64_t r = g4_rng_u64(seed, stream, i);
    int32_t sum = (int32_t)((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
    return (float)(w->mean + w->scale * (double)(sum - 131070));
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* a below 2^32 and n at most 2^24 (config.c), so a * i does not wrap. */
static void fill_order(int64_t *dst, uint64_t n, uint64_t seed, uint64_t stream, int64_t begin,
                       int64_t end)
{
    uint64_t a = g4_rng_u64(seed, stream, 0) % 0xffffffffu, b = g4_rng_u64(seed, stream, 1) % n;
    while (gcd(++a, n) != 1) continue;
    for (int64_t i = begin; i < end; i++) dst[i - begin] = (int64_t)((a * (uint64_t)i + b) % n);
}

void g4_synth_fill(void *dst, const g4_shape_tensor *t, const g4_synth_type *type, uint64_t seed,
                   int64_t begin, int64_t end)
{
    uint64_t stream = g4_synth_stream(t->name);
    if (t->role == G4_ROLE_ORDER) {
        fill_order(dst, t->values, seed, stream, begin, end);
        return;
    }
    law w = law_of(t);
    float *f32 = dst;
    uint16_t *half = dst;
    if (t->role == G4_ROLE_SCALAR) {   /* one value a layer: speed does not matter */
        for (int64_t i = begin; i < end; i++) {
            float v = (float)(0.95 + 0.05 * g4_rng_unit(seed, stream, (uint64_t)i));
            if (type->bytes == 4) f32[i - begin] = v;
            else half[i - begin] = type->name[0] == 'b' ? g4_f32_to_bf16(v) : g4_f32_to_f16(v);
        }
    } else if (type->bytes == 4) {
        for (int64_t i = begin; i < end; i++)
            f32[i - begin] = normal(&w, seed, stream, (uint64_t)i);
    } else if (type->name[0] == 'b') {
        for (int64_t i = begin; i < end; i++)
            half[i - begin] = g4_f32_to_bf16(normal(&w, seed, stream, (uint64_t)i));
    } else {
        for (int64_t i = begin; i < end; i++)
            half[i - begin] = g4_f32_to_f16(normal(&w, seed, stream, (uint64_t)i));
    }
}
