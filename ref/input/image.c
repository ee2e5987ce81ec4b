/* SPDX-License-Identifier: Apache-2.0
 * libpng leaves an error by longjmp.  So everything that must be freed lives in
 * a struct of the caller (decode), and the function that calls setjmp has no
 * local it changes after setjmp. */
#include "ref/input/image.h"

#include "ref/base/map.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 512 << 20, MESSAGE = 160, WARNING = 80 };

/* deflate cannot expand by more than this (RFC 1951: 258 bytes from 2 bits). */
enum { MAX_EXPANSION = 1032 };

typedef struct job {
    const char *name;
    const uint8_t *data;
    size_t size, at;
    png_structp png;
    png_infop info;
    g4_image *im;
    png_bytep *rows;            /* [height] into im->rgb, or into wide */
    uint8_t *wide;              /* indices, or 16-bit grey: what libpng hands out */
    g4_status status;           /* of our own faults */
    g4_err *err;
    char message[MESSAGE];      /* libpng's last words, or a grave warning */
    char warning[WARNING];      /* the latest warning: often says why */
} job;

static void on_error(png_structp png, png_const_charp text)
{
    job *j = png_get_error_ptr(png);
    if (!j->message[0])
        snprintf(j->message, MESSAGE, "%.70s%s%.75s", text, j->warning[0] ? ": " : "",
                 j->warning);
    png_longjmp(png, 1);
}

/* A warning about a critical chunk ("IDAT: Extra compressed data") begins with
 * its name, whose first letter is upper case; those end the decoding. */
static void on_warning(png_structp png, png_const_charp text)
{
    job *j = png_get_error_ptr(png);
    int grave = text[0] >= 'A' && text[0] <= 'Z' && strlen(text) > 5 && text[4] == ':';
    if (grave && !j->message[0]) snprintf(j->message, MESSAGE, "%.150s", text);
    snprintf(j->warning, WARNING, "%.75s", text);
}

static void on_read(png_structp png, png_bytep out, size_t want)
{
    job *j = png_get_io_ptr(png);
    if (want > j->size - j->at) png_error(png, "the file ends too early");
    memcpy(out, j->data + j->at, want);
    j->at += want;
}

/* Our own fault found inside the setjmp frame: note it and leave like libpng. */
static void __attribute__((noreturn)) leave(job *j, g4_status s)
{
    j->status = s;
    png_longjmp(j->png, 1);
}

/* Rows of `channels` bytes a pixel. */
static void alloc_rows(job *j, size_t width, size_t height, size_t channels, uint8_t **out)
{
    *out = malloc(width * channels * height);   /* check_size bounds the product */
    j->rows = malloc(height * sizeof *j->rows);
    if (!*out || !j->rows) leave(j, g4_nomem(j->err, j->name));
    for (size_t y = 0; y < height; y++) j->rows[y] = *out + y * width * channels;
}

/* Pixels compressed to less than deflate can: the header lies about the size. */
static void check_size(job *j, png_uint_32 width, png_uint_32 height)
{
    uint64_t pixels = (uint64_t)width * height;
    if (pixels > G4_IMAGE_MAX_PIXELS)
        leave(j, g4_fail(j->err, G4_EINPUT, "%s: %u x %u pixels, more than the %d allowed",
                         j->name, width, height, (int)G4_IMAGE_MAX_PIXELS));
    uint64_t raw = (uint64_t)png_get_rowbytes(j->png, j->info) * height;
    if (raw / MAX_EXPANSION > j->size)
        leave(j, g4_fail(j->err, G4_EINPUT,
                         "%s: damaged PNG: %u x %u pixels cannot come from %zu bytes", j->name,
                         width, height, j->size));
}

/* Indices become colours here: libpng would give a colour for any index. */
static void apply_palette(job *j)
{
    png_colorp palette = NULL;
    int colors = 0;
    size_t n = (size_t)j->im->width * (size_t)j->im->height;
    png_get_PLTE(j->png, j->info, &palette, &colors);
    for (size_t i = 0; i < n; i++) {
        if (j->wide[i] >= colors)
            leave(j, g4_fail(j->err, G4_EINPUT, "%s: damaged PNG: colour %d of a palette of %d",
                             j->name, j->wide[i], colors));
        png_color c = palette[j->wide[i]];
        uint8_t *p = j->im->rgb + 3 * i;
        p[0] = c.red;
        p[1] = c.green;
        p[2] = c.blue;
    }
}

/* Pillow's "I;16" to RGB: values above 255 are clipped, not scaled. */
static void apply_grey16(job *j)
{
    size_t n = (size_t)j->im->width * (size_t)j->im->height;
    for (size_t i = 0; i < n; i++) {
        uint8_t v = j->wide[2 * i] ? 255 : j->wide[2 * i + 1];   /* big-endian */
        memset(j->im->rgb + 3 * i, v, 3);
    }
}

static void decode_body(job *j)
{
    png_uint_32 width, height;
    int depth, color;
    png_set_user_limits(j->png, G4_IMAGE_MAX_SIDE, G4_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(j->png, 1 << 20);
    png_set_chunk_cache_max(j->png, 128);
    /* Ancillary chunks but tRNS are skipped unread: none changes a pixel. */
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_read_fn(j->png, j, on_read);
    png_read_info(j->png, j->info);
    png_get_IHDR(j->png, j->info, &width, &height, &depth, &color, NULL, NULL, NULL);
    check_size(j, width, height);
    j->im->width = width;
    j->im->height = height;
    int indexed = color == PNG_COLOR_TYPE_PALETTE;
    int grey16 = color == PNG_COLOR_TYPE_GRAY && depth == 16;
    size_t pixels = (size_t)width * height;
    if (indexed) {
        png_set_packing(j->png);   /* one index a byte */
    } else if (!grey16) {
        png_set_strip_16(j->png);
        png_set_strip_alpha(j->png);
        if (!(color & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(j->png);
        if (depth < 8) png_set_expand_gray_1_2_4_to_8(j->png);
    }
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    size_t channels = indexed ? 1 : grey16 ? 2 : 3;
    if (png_get_rowbytes(j->png, j->info) != width * channels)
        png_error(j->png, "unexpected row size");
    alloc_rows(j, width, height, channels, channels == 3 ? &j->im->rgb : &j->wide);
    if (!j->im->rgb && !(j->im->rgb = malloc(3 * pixels))) leave(j, g4_nomem(j->err, j->name));
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL);
    if (indexed) apply_palette(j);
    if (grey16) apply_grey16(j);
}

/* The setjmp frame: returns 1 when decode_body ended by longjmp. */
static int decode_guarded(job *j)
{
    if (setjmp(png_jmpbuf(j->png))) return 1;
    decode_body(j);
    return 0;
}

/* What else it might be, by its first bytes. */
static const char *other_format(const uint8_t *d, size_t n)
{
    if (n >= 3 && memcmp(d, "\xff\xd8\xff", 3) == 0) return "JPEG";
    if (n >= 12 && memcmp(d, "RIFF", 4) == 0 && memcmp(d + 8, "WEBP", 4) == 0) return "WebP";
    if (n >= 6 && memcmp(d, "GIF8", 4) == 0) return "GIF";
    if (n >= 2 && memcmp(d, "BM", 2) == 0) return "BMP";
    if (n >= 4 && (memcmp(d, "II*\0", 4) == 0 || memcmp(d, "MM\0*", 4) == 0)) return "TIFF";
    if (n >= 12 && memcmp(d + 4, "ftypavif", 8) == 0) return "AVIF";
    if (n >= 11 && memcmp(d + 4, "ftyphei", 7) == 0) return "HEIC";
    if (n >= 3 && d[0] == 'P' && d[1] >= '1' && d[1] <= '6') return "Netpbm";
    return NULL;
}

g4_status g4_image_decode(g4_image *im, const char *name, const uint8_t *data, size_t size,
                          g4_err *err)
{
    memset(im, 0, sizeof *im);
    const char *other = other_format(data, size);
    if (other)
        return g4_fail(err, G4_EINPUT, "%s: a %s file, only PNG is built in", name, other);
    if (size < 8 || png_sig_cmp(data, 0, 8) != 0)
        return g4_fail(err, G4_EINPUT, "%s: %s", name, size ? "not a PNG file" : "empty file");
    job j = { .name = name, .data = data, .size = size, .im = im, .err = err };
    j.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    if (!j.png) return g4_nomem(err, name);
    j.info = png_create_info_struct(j.png);
    if (!j.info) j.status = g4_nomem(err, name);
    if (j.info && (decode_guarded(&j) || j.message[0]) && j.status == G4_OK) {
        j.status = g4_fail(err, strstr(j.message, "memory") ? G4_ENOMEM : G4_EINPUT,
                           "%s: damaged PNG: %s", name, j.message);
    }
    png_destroy_read_struct(&j.png, &j.info, NULL);
    free(j.rows);
    free(j.wide);
    if (j.status != G4_OK) g4_image_free(im);
    return j.status;
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
