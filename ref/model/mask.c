/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/mask.h"

#include "ref/model/config.h"

#include <string.h>

static const char *const names[] = {
    [G4_MASK_OFFICIAL] = "official",
    [G4_MASK_HF_HELPER] = "hf-helper",
    [G4_MASK_HF_FORWARD] = "hf-forward",
    [G4_MASK_CAUSAL] = "causal",
};

const char *g4_mask_name(g4_mask m)
{
    return names[m];
}

g4_status g4_mask_by_name(g4_mask *m, const char *name, g4_err *err)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) {
            *m = (g4_mask)i;
            return G4_OK;
        }
    return g4_fail(err, G4_EINPUT,
                   "mask \"%s\": known are official, hf-helper, hf-forward, causal", name);
}

static int in_block(int8_t type)
{
    return type == 1 || type == 2;   /* image, video frame */
}

void g4_blocks(g4_span *blocks, const int8_t *types, int64_t n)
{
    for (int64_t i = 0; i < n;) {
        int64_t end = i;
        while (end < n && in_block(types[end])) end++;
        if (end == i) {
            blocks[i] = (g4_span){ i, i };
            i++;
        }
        for (int64_t begin = i; i < end; i++) blocks[i] = (g4_span){ begin, end };
    }
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

g4_span g4_mask_keys(g4_mask m, int kind, int64_t window, int64_t i, g4_span block)
{
    int64_t oldest = kind == G4_FULL ? 0 : max64(0, i - window + 1);
    g4_span keys = { oldest, i + 1 };
    if (block.end <= i || m == G4_MASK_CAUSAL) return keys;
    if (m == G4_MASK_HF_FORWARD) return (g4_span){ min64(oldest, block.begin), block.end };
    if (kind == G4_FULL) return keys;
    keys.end = block.end;
    if (m == G4_MASK_OFFICIAL) keys.end = min64(keys.end, i + window);
    return keys;
}
