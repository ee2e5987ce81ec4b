/* SPDX-License-Identifier: Apache-2.0
 * Which format it is, which way up, and the limits that all formats share. */
#include "ref/input/image.h"

#include "ref/base/map.h"
#include "ref/input/image_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 512 << 20 };

/* A format by bytes at one or two places of its head; NULL decode: known by name only. */
static const struct format {
    const char *name, *magic;
    size_t length;
    const char *brand;          /* four bytes at 8, or NULL */
    g4_image_decoder *decode;
} formats[] = {
    { "PNG", "\x89PNG\r\n\x1a\n", 8, NULL, g4_png_decode },
    { "JPEG", "\xff\xd8\xff", 3, NULL, g4_jpeg_decode },
    { "WebP", "RIFF", 4, "WEBP", g4_webp_decode },
    { "GIF", "GIF8", 4, NULL, NULL },
    { "BMP", "BM", 2, NULL, NULL },
    { "TIFF", "II*\0", 4, NULL, NULL },
    { "TIFF", "MM\0*", 4, NULL, NULL },
    { "JPEG 2000", "\0\0\0\x0cjP  ", 8, NULL, NULL },
    { "JPEG 2000", "\xff\x4f\xff\x51", 4, NULL, NULL },
    { "JPEG XL", "\0\0\0\x0cJXL ", 8, NULL, NULL },
    { "JPEG XL", "\xff\x0a", 2, NULL, NULL },
    { "ICO", "\0\0\1\0", 4, NULL, NULL },
    { "PSD", "8BPS", 4, NULL, NULL },
    { "PDF", "%PDF", 4, NULL, NULL },
    { "SVG", "<svg", 4, NULL, NULL },
};

/* Files of the ISO base format: "ftyp" at 4, then a brand. */
static const char *const brands[][2] = {
    { "avif", "AVIF" }, { "avis", "AVIF" }, { "heic", "HEIC" }, { "heix", "HEIC" },
    { "heim", "HEIC" }, { "hevc", "HEIC" }, { "mif1", "HEIC" }, { "msf1", "HEIC" },
};

static const struct format *find_format(const uint8_t *d, size_t n)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const struct format *f = &formats[i];
        if (n < f->length || memcmp(d, f->magic, f->length) != 0) continue;
        if (!f->brand || (n >= 12 && memcmp(d + 8, f->brand, 4) == 0)) return f;
    }
    return NULL;
}

static const char *find_brand(const uint8_t *d, size_t n)
{
    if (n < 12 || memcmp(d + 4, "ftyp", 4) != 0) return NULL;
    for (size_t i = 0; i < sizeof brands / sizeof brands[0]; i++)
        if (memcmp(d + 8, brands[i][0], 4) == 0) return brands[i][1];
    return "video or HEIF";
}

g4_status g4_image_check_size(const char *name, uint64_t width, uint64_t height, g4_err *err)
{
    unsigned long long w = width, h = height;
    if (w == 0 || h == 0 || w > G4_IMAGE_MAX_SIDE || h > G4_IMAGE_MAX_SIDE)
        return g4_fail(err, G4_EINPUT, "%s: width or height out of range: %llu x %llu, at most %d",
                       name, w, h, (int)G4_IMAGE_MAX_SIDE);
    if (w * h > G4_IMAGE_MAX_PIXELS)
        return g4_fail(err, G4_EINPUT, "%s: %llu x %llu pixels, more than the %d allowed", name, w,
                       h, (int)G4_IMAGE_MAX_PIXELS);
    return G4_OK;
}

g4_status g4_image_alloc(g4_image *im, const char *name, uint64_t width, uint64_t height,
                         g4_err *err)
{
    G4_TRY(g4_image_check_size(name, width, height, err));
    im->width = (int64_t)width;
    im->height = (int64_t)height;
    im->rgb = malloc((size_t)(width * height * 3));
    return im->rgb ? G4_OK : g4_nomem(err, name);
}

/* Turns the stored picture: the output is written in order, the input read from
 * one corner by steps of dx along an output row and dy from row to row. */
static g4_status turn(g4_image *im, int orientation, const char *name, g4_err *err)
{
    int swap = orientation >= 5;                     /* rows become columns */
    int right = strchr("\2\3\7\10", orientation) != NULL;   /* starts at the right edge */
    int bottom = strchr("\3\4\6\7", orientation) != NULL;   /* starts at the bottom */
    int64_t w = im->width, h = im->height;
    uint8_t *out = malloc((size_t)(w * h * 3)), *to = out;
    if (!out) return g4_nomem(err, name);
    int64_t along_x = right ? -1 : 1, along_y = bottom ? -w : w;
    int64_t dx = swap ? along_y : along_x, dy = swap ? along_x : along_y;
    int64_t corner = (right ? w - 1 : 0) + (bottom ? (h - 1) * w : 0);
    im->width = swap ? h : w;
    im->height = swap ? w : h;
    for (int64_t y = 0; y < im->height; y++)
        for (int64_t x = 0; x < im->width; x++, to += 3)
            memcpy(to, im->rgb + 3 * (corner + y * dy + x * dx), 3);
    free(im->rgb);
    im->rgb = out;
    return G4_OK;
}

g4_status g4_image_decode(g4_image *im, const char *name, const uint8_t *data, size_t size,
                          g4_err *err)
{
    int orientation = 1;
    memset(im, 0, sizeof *im);
    if (size == 0) return g4_fail(err, G4_EINPUT, "%s: empty file", name);
    const struct format *f = find_format(data, size);
    const char *other = f ? f->decode ? NULL : f->name : find_brand(data, size);
    if (other)
        return g4_fail(err, G4_EINPUT, "%s: %s is not read, only PNG, JPEG and WebP are", name,
                       other);
    if (!f) return g4_fail(err, G4_EINPUT, "%s: not a PNG, JPEG or WebP file", name);
    g4_status s = f->decode(im, &orientation, name, data, size, err);
    if (s == G4_OK && orientation >= 2 && orientation <= 8) s = turn(im, orientation, name, err);
    if (s != G4_OK) g4_image_free(im);
    return s;
}

g4_status g4_image_read(g4_image *im, const char *path, g4_err *err)
{
    uint8_t *data;
    size_t size;
    memset(im, 0, sizeof *im);
    G4_TRY(g4_file_read(path, MAX_FILE, &data, &size, err));
    g4_status s = g4_image_decode(im, path, data, size, err);
    free(data);
    return s;
}

void g4_image_free(g4_image *im)
{
    free(im->rgb);
    memset(im, 0, sizeof *im);
}
