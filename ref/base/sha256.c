/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/base/sha256.h"

#include <string.h>

/* FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots
 * of the first 64 primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* FIPS 180-4, 6.2.2, with the working variables a..h in v[0..7] before round t = 0.  A round
 * renames seven of them, so at round t the variable of number i is v[(i - t) mod 8]. */
static void compress(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[64], v[8];
    for (int t = 0; t < 16; t++) w[t] = big_endian(block + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    memcpy(v, state, sizeof v);
#define V(i) v[((i) - t) & 7]
#pragma GCC unroll 64
    for (int t = 0; t < 64; t++) {
        uint32_t s1 = rotr(V(4), 6) ^ rotr(V(4), 11) ^ rotr(V(4), 25);
        uint32_t t1 = V(7) + s1 + ((V(4) & V(5)) ^ (~V(4) & V(6))) + K[t] + w[t];
        uint32_t s0 = rotr(V(0), 2) ^ rotr(V(0), 13) ^ rotr(V(0), 22);
        uint32_t t2 = s0 + ((V(0) & V(1)) ^ (V(0) & V(2)) ^ (V(1) & V(2)));
        V(3) += t1;
        V(7) = t1 + t2;   /* the next round's a */
    }
#undef V
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

void g4_sha256_begin(g4_sha256 *s)
{
    static const uint32_t start[8] = {   /* square roots of the first 8 primes */
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    memcpy(s->state, start, sizeof start);
    s->size = 0;
}

void g4_sha256_add(g4_sha256 *s, const void *data, size_t size)
{
    const unsigned char *p = data;
    size_t have = (size_t)(s->size % sizeof s->block);
    s->size += size;
    while (size > 0) {
        if (have == 0 && size >= sizeof s->block) {   /* whole blocks where they lie */
            compress(s->state, p);
            p += sizeof s->block;
            size -= sizeof s->block;
            continue;
        }
        size_t n = sizeof s->block - have < size ? sizeof s->block - have : size;
        memcpy(s->block + have, p, n);
        p += n;
        size -= n;
        have = (have + n) % sizeof s->block;
        if (have == 0) compress(s->state, s->block);
    }
}

void g4_sha256_end(g4_sha256 *s, char hex[G4_SHA256_HEX])
{
    static const unsigned char pad[64] = { 0x80 };
    static const char digit[] = "0123456789abcdef";
    unsigned char bits[8];
    for (int i = 0; i < 8; i++) bits[i] = (unsigned char)(s->size << 3 >> (56 - 8 * i));
    size_t have = (size_t)(s->size % 64);
    g4_sha256_add(s, pad, (have < 56 ? 56 : 120) - have);
    g4_sha256_add(s, bits, sizeof bits);
    for (int i = 0; i < 64; i++) *hex++ = digit[s->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    *hex = 0;
}
