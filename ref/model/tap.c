/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/tap.h"

#include <stdio.h>

static const char *const paths[G4_TAP_COUNT] = {
#define G4_TAP(id, path) [G4_TAP_##id] = path,
#include "ref/model/taps.def"
#undef G4_TAP
};

char *g4_tap_path(char *buf, size_t size, g4_tap_id id, int64_t layer, int64_t step)
{
    size_t at = 0;
    for (const char *p = paths[id]; *p && at + 1 < size; p++) {
        if (p[0] == '%' && (p[1] == 'L' || p[1] == 'S')) {
            int n = p[1] == 'L' ? snprintf(buf + at, size - at, "%02lld", (long long)layer)
                                : snprintf(buf + at, size - at, "%lld", (long long)step);
            at += (size_t)n < size - at ? (size_t)n : size - at - 1;
            p++;
        } else {
            buf[at++] = *p;
        }
    }
    buf[at] = 0;
    return buf;
}
