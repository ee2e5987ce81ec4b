/* SPDX-License-Identifier: Apache-2.0
 * Counter-based random numbers: the i-th number of stream s is a pure function
 * of (seed, s, i), so results depend neither on threads nor on call order.
 * The mixer is SplitMix64's finaliser (Steele, Lea, Flood 2014), twice. */
#ifndef G4_BASE_RNG_H
#define G4_BASE_RNG_H

#include <stdint.h>

static inline uint64_t g4_mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t g4_rng_u64(uint64_t seed, uint64_t stream, uint64_t i)
{
    uint64_t key = g4_mix64(seed * 0x9e3779b97f4a7c15u + stream + 1);
    return g4_mix64(key + (i + 1) * 0x9e3779b97f4a7c15u);
}

static inline double g4_rng_unit(uint64_t seed, uint64_t stream, uint64_t i)   /* [0, 1) */
{
    return (double)(g4_rng_u64(seed, stream, i) >> 11) * 0x1p-53;
}

#endif
