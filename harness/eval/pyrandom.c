/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/pyrandom.h"

enum { N = 624, M = 397 };

static void fill(g4_py_random *r)
{
    for (int i = 0; i < N; i++) {
        uint32_t y = (r->state[i] & 0x80000000u) | (r->state[(i + 1) % N] & 0x7fffffffu);
        r->state[i] = r->state[(i + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->at = 0;
}

static uint32_t word(g4_py_random *r)
{
    if (r->at == N) fill(r);
    uint32_t y = r->state[r->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* init_by_array([seed]) behind init_genrand(19650218), as CPython seeds by an int. */
void g4_py_seed(g4_py_random *r, uint32_t seed)
{
    uint32_t *s = r->state;
    int i = 1;
    s[0] = 19650218u;
    for (int k = 1; k < N; k++) s[k] = 1812433253u * (s[k - 1] ^ s[k - 1] >> 30) + (uint32_t)k;
    for (int k = 0; k < N; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + seed;
        if (++i == N) s[0] = s[N - 1], i = 1;
    }
    for (int k = 1; k < N; k++) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - (uint32_t)i;
        if (++i == N) s[0] = s[N - 1], i = 1;
    }
    s[0] = 0x80000000u;
    r->at = N;
}

/* getrandbits(n.bit_length()) until it is below n */
uint32_t g4_py_below(g4_py_random *r, uint32_t n)
{
    int bits = 0;
    uint32_t v;
    while (bits < 32 && n >> bits) bits++;
    do v = word(r) >> (32 - bits);
    while (v >= n);
    return v;
}

void g4_py_shuffle(g4_py_random *r, uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i-- > 1;) {
        uint32_t j = g4_py_below(r, i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

/* From a small list it takes and moves up the last; of a large one it draws again what it
 * had: 21, and beyond 5 the power of 4 from 3 k on, say which (CPython's sample()). */
void g4_py_sample(g4_py_random *r, uint32_t n, uint32_t k, uint32_t *out, uint32_t *scratch)
{
    uint64_t small = 21, power = 1;
    while (k > 5 && power < (uint64_t)k * 3) power *= 4;
    if (k > 5) small += power;
    for (uint32_t i = 0; n <= small && i < n; i++) scratch[i] = i;
    for (uint32_t i = 0; i < k; i++) {
        uint32_t j = g4_py_below(r, n <= small ? n - i : n);
        if (n <= small) {
            out[i] = scratch[j];
            scratch[j] = scratch[n - i - 1];
            continue;
        }
        for (uint32_t had = 0; had < i;)
            if (out[had++] == j) j = g4_py_below(r, n), had = 0;
        out[i] = j;
    }
}
