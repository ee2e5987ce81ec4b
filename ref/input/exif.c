/* SPDX-License-Identifier: Apache-2.0
 * A TIFF header, then a directory of 12-byte entries (tag, type, count, value or
 * the offset of one).  Every read is checked against the end. */
#include "ref/input/exif.h"

#include <stdlib.h>
#include <string.h>

enum { ORIENTATION = 274, HEADER = 8, ENTRY = 12 };

typedef struct tiff {
    const uint8_t *data;
    size_t size;
    int big;                     /* big-endian */
} tiff;

/* Sizes of the TIFF types, 0 for those Pillow skips (14 and 15 do not exist). */
static const uint8_t type_size[] = { 0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8 };

static uint64_t number(const tiff *t, const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v = v << 8 | p[t->big ? i : n - 1 - i];
    return v;
}

/* num / den where that is one of 0 to 9, else 0: nothing else can be a turn. */
static int quotient(int64_t num, int64_t den)
{
    if (den == 0 || num % den != 0) return 0;
    int64_t q = num / den;
    return q >= 0 && q <= 9 ? (int)q : 0;
}

/* The first value of a tag.  Pillow compares by value, so 6.0 and 12/2 are 6;
 * bytes and strings never match. */
static int value_of(const tiff *t, unsigned type, const uint8_t *p)
{
    uint64_t v;
    float f;
    double d;
    switch (type) {
    case 3: v = number(t, p, 2); return v <= 9 ? (int)v : 0;
    case 4: case 13: v = number(t, p, 4); return v <= 9 ? (int)v : 0;
    case 16: v = number(t, p, 8); return v <= 9 ? (int)v : 0;
    case 5: return quotient((int64_t)number(t, p, 4), (int64_t)number(t, p + 4, 4));
    case 6: return quotient((int8_t)p[0], 1);
    case 8: return quotient((int16_t)number(t, p, 2), 1);
    case 9: return quotient((int32_t)number(t, p, 4), 1);
    case 10: return quotient((int32_t)number(t, p, 4), (int32_t)number(t, p + 4, 4));
    case 11: {
        uint32_t bits = (uint32_t)number(t, p, 4);
        memcpy(&f, &bits, sizeof f);
        d = f;
        break;
    }
    case 12:
        v = number(t, p, 8);
        memcpy(&d, &v, sizeof d);
        break;
    default: return 0;
    }
    return d >= 0 && d <= 9 && d == (double)(int)d ? (int)d : 0;
}

/* 1: the directory at `at` has the tag, *value is its first value (0: no turn). */
static int find_orientation(const tiff *t, uint64_t at, int *value)
{
    if (at > t->size || t->size - at < 2) return 0;
    uint64_t entries = number(t, t->data + at, 2), total = 0;
    uint8_t seen[1 << 13] = { 0 };   /* a bit for each tag that has a value: the first counts */
    const uint8_t *p = t->data + at + 2, *end = t->data + t->size;
    for (; entries > 0 && end - p >= ENTRY; entries--, p += ENTRY) {
        unsigned tag = (unsigned)number(t, p, 2), type = (unsigned)number(t, p + 2, 2);
        if (seen[tag >> 3] & 1 << (tag & 7)) continue;
        if (type >= sizeof type_size || type_size[type] == 0) continue;
        uint64_t size = number(t, p + 4, 4) * type_size[type];
        const uint8_t *v = p + 8;
        if (size == 0) continue;
        if (size > 4) {
            uint64_t offset = number(t, v, 4);
            /* Values of one directory that add up to more than all bytes: Pillow
             * skips this tag and every large one after it. */
            total += size;
            if (total > t->size) continue;
            if (offset > t->size || t->size - offset < size) return 0;
            v = t->data + offset;
        }
        if (tag == ORIENTATION) {
            *value = value_of(t, type, v);
            return 1;
        }
        seen[tag >> 3] |= (uint8_t)(1 << (tag & 7));
    }
    return 0;
}

/* Pillow's regular expression tiff:Orientation(="|>)([0-9]), first match. */
static int xmp_orientation(const uint8_t *p, size_t n)
{
    static const char key[] = "tiff:Orientation";
    const size_t length = sizeof key - 1;
    const uint8_t *end = p + n;
    while (p < end && (p = memmem(p, (size_t)(end - p), key, length)) != NULL) {
        p += length;
        const uint8_t *digit = NULL;
        if (end - p >= 3 && p[0] == '=' && p[1] == '"') digit = p + 2;
        if (end - p >= 2 && p[0] == '>') digit = p + 1;
        if (digit && *digit >= '0' && *digit <= '9') return *digit - '0';
    }
    return 0;
}

/* Both byte orders, and the two that mix them, are taken; "II+" is BigTIFF, whose
 * longer header Pillow does not give its reader here, so it ends in an error. */
static int open_tiff(tiff *t)
{
    static const char heads[][5] = { "MM\0*", "II*\0", "MM*\0", "II\0*", "MM\0+" };
    if (t->size < HEADER) return 0;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        if (memcmp(t->data, heads[i], 4) == 0) {
            t->big = heads[i][0] == 'M';
            return 1;
        }
    return 0;
}

g4_status g4_exif_orientation(const g4_exif *e, const char *name, int *orientation, g4_err *err)
{
    int value = 0, found = 0;
    *orientation = 1;
    if (e->exif) {
        tiff t = { e->exif, e->exif_size, 0 };
        for (int i = 0; i < 2 && t.size >= 6 && memcmp(t.data, "Exif\0\0", 6) == 0; i++) {
            t.data += 6;
            t.size -= 6;
        }
        int damaged = t.size && !open_tiff(&t);
        if (damaged && e->lenient) return G4_OK;
        if (damaged)
            return g4_fail(err, G4_EINPUT, "%s: damaged EXIF: no TIFF header", name);
        if (t.size) found = find_orientation(&t, number(&t, t.data + 4, 4), &value);
    }
    if (!found && e->xmp) value = xmp_orientation(e->xmp, e->xmp_size);
    *orientation = value >= 2 && value <= 8 ? value : 1;
    return G4_OK;
}
