/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/file/gguf_names.h"

#include <string.h>

static const struct {
    const char *gguf, *hf;
    g4_gguf_change change;
} rows[] = {
#define G4_GGUF_NAME(gguf, hf, change) { gguf, hf, G4_GGUF_##change },
#include "ref/file/gguf_names.def"
#undef G4_GGUF_NAME
};

enum { ROWS = sizeof rows / sizeof rows[0], MAX_DIGITS = 9 };

static const char *prefix_of(int drafter)
{
    return drafter ? "model." : "model.language_model.";
}

/* Does name follow the pattern?  *layer is then its digits, *digits how many. */
static int match(const char *pattern, const char *name, const char *prefix, const char **layer,
                 size_t *digits)
{
    for (; *pattern; pattern++) {
        if (pattern[0] != '%') {
            if (*pattern != *name++) return 0;
            continue;
        }
        pattern++;
        size_t n = *pattern == 'P' ? strlen(prefix) : strspn(name, "0123456789");
        if (*pattern == 'P' && strncmp(name, prefix, n) != 0) return 0;
        if (*pattern == 'L') {
            if (n == 0 || n > MAX_DIGITS || (n > 1 && name[0] == '0')) return 0;
            *layer = name;
            *digits = n;
        }
        name += n;
    }
    return *name == 0;
}

static void expand(char *dst, const char *pattern, const char *prefix, const char *layer,
                   size_t digits)
{
    for (; *pattern; pattern++) {
        if (pattern[0] != '%') {
            *dst++ = *pattern;
            continue;
        }
        pattern++;
        size_t n = *pattern == 'P' ? strlen(prefix) : digits;
        memcpy(dst, *pattern == 'P' ? prefix : layer, n);
        dst += n;
    }
    *dst = 0;
}

static int translate(char *dst, const char *name, int drafter, int to_hf, g4_gguf_change *change)
{
    const char *layer = "", *prefix = prefix_of(drafter);
    size_t digits = 0;
    for (int i = 0; i < ROWS; i++) {
        if (!match(to_hf ? rows[i].gguf : rows[i].hf, name, prefix, &layer, &digits)) continue;
        expand(dst, to_hf ? rows[i].hf : rows[i].gguf, prefix, layer, digits);
        *change = rows[i].change;
        return 1;
    }
    return 0;
}

int g4_gguf_to_hf(char *dst, const char *name, int drafter, g4_gguf_change *change)
{
    return translate(dst, name, drafter, 1, change);
}

int g4_gguf_from_hf(char *dst, const char *name, int drafter, g4_gguf_change *change)
{
    return translate(dst, name, drafter, 0, change);
}
