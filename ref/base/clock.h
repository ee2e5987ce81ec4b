/* SPDX-License-Identifier: Apache-2.0
 * Seconds of the clock that is never set back. */
#ifndef G4_BASE_CLOCK_H
#define G4_BASE_CLOCK_H

#include <time.h>

static inline double g4_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
