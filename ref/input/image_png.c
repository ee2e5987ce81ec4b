/* SPDX-License-Identifier: Apache-2.0
 * PNG by libpng, every colour type and depth, interlaced or not; an animated one
 * gives its first picture (the IDAT chunks), as in Pillow.
 *
 * libpng leaves an error by longjmp.  So everything that must be freed lives in
 * a struct of the caller (decode), and the function that calls setjmp has no
 * local it changes after setjmp. */
#include "ref/input/exif.h"
#include "ref/input/image_impl.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE = 160, WARNING = 80 };

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

/* libpng takes, and clears, as much memory as a chunk says it is long before it
 * reads one byte of it: 2 GB for a file of 600. */
static void check_chunks(job *j)
{
    enum { SIGNATURE = 8, AROUND = 12 };   /* length, type, check sum */
    uint64_t at = SIGNATURE;
    while (at + AROUND <= j->size) {
        const uint8_t *p = j->data + at;
        at += AROUND + ((uint64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]);
        if (at > j->size) png_error(j->png, "the file ends too early");
        if (memcmp(p + 4, "IEND", 4) == 0) return;
    }
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
    g4_status s = g4_image_check_size(j->name, width, height, j->err);
    if (s != G4_OK) leave(j, s);
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
    /* Of the ancillary chunks only tRNS and those that may hold an orientation are
     * read: no other changes a pixel.  eXIf comes as bytes; libpng would judge them. */
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_AS_DEFAULT,
                                (png_const_bytep)"tEXt\0zTXt\0iTXt", 3);
    png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_ALWAYS, (png_const_bytep)"eXIf", 1);
    png_set_read_fn(j->png, j, on_read);
    check_chunks(j);
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
    png_read_end(j->png, j->info);
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

/* ------------------------------------------------------------ which way up */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* ImageMagick's older way to store EXIF: a text of an empty line, the profile's
 * name, its length, then hexadecimal lines.  *out: malloc'ed bytes. */
static g4_status unhex(const job *j, const char *text, size_t size, uint8_t **out, size_t *used)
{
    size_t n = 0;
    int high = -1;
    const char *p = text, *end = text + size;
    for (int line = 0; line < 3 && p; line++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (p) p++;
    }
    uint8_t *b = malloc(size / 2 + 1);
    if (!b) return g4_nomem(j->err, j->name);
    for (; p && p < end; p++) {
        int d = hex_digit(*p);
        if (d < 0 && (high >= 0 || !strchr(" \t\r\n\v\f", *p))) break;
        if (d >= 0 && high >= 0) b[n++] = (uint8_t)(high << 4 | d);
        if (d >= 0) high = high >= 0 ? -1 : d;
    }
    *out = b;
    *used = n;
    if ((p && p < end) || high >= 0)
        return g4_fail(j->err, G4_EINPUT, "%s: damaged EXIF: not hexadecimal", j->name);
    return G4_OK;
}

/* The last chunk of a kind counts, as in Pillow; eXIf goes before the text. */
static g4_status find_orientation(job *j, int *orientation)
{
    g4_exif e = { NULL, 0, NULL, 0, 0 };
    png_unknown_chunkp chunks = NULL;
    png_textp texts = NULL, profile = NULL;
    uint8_t *bytes = NULL;
    int count = png_get_unknown_chunks(j->png, j->info, &chunks);
    for (int i = 0; i < count; i++)
        if (memcmp(chunks[i].name, "eXIf", 4) == 0) {
            e.exif = chunks[i].data ? chunks[i].data : (const uint8_t *)"";
            e.exif_size = chunks[i].size;
        }
    count = 0;
    png_get_text(j->png, j->info, &texts, &count);
    for (int i = 0; i < count; i++) {
        const png_text *t = &texts[i];
        size_t size = t->compression >= PNG_ITXT_COMPRESSION_NONE ? t->itxt_length
                                                                  : t->text_length;
        if (!t->text) continue;
        if (strcmp(t->key, "Raw profile type exif") == 0) profile = &texts[i];
        if (strcmp(t->key, "XML:com.adobe.xmp") == 0) {
            e.xmp = (const uint8_t *)t->text;
            e.xmp_size = size;
        }
    }
    g4_status s = G4_OK;
    if (!e.exif && profile) {
        s = unhex(j, profile->text, strlen(profile->text), &bytes, &e.exif_size);
        e.exif = bytes;
    }
    if (s == G4_OK) s = g4_exif_orientation(&e, j->name, orientation, j->err);
    free(bytes);
    return s;
}

g4_status g4_png_decode(g4_image *im, int *orientation, const char *name, const uint8_t *data,
                        size_t size, g4_err *err)
{
    job j = { .name = name, .data = data, .size = size, .im = im, .err = err };
    j.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning);
    if (!j.png) return g4_nomem(err, name);
    j.info = png_create_info_struct(j.png);
    if (!j.info) j.status = g4_nomem(err, name);
    if (j.info && (decode_guarded(&j) || j.message[0]) && j.status == G4_OK) {
        j.status = g4_fail(err, strstr(j.message, "memory") ? G4_ENOMEM : G4_EINPUT,
                           "%s: damaged PNG: %s", name, j.message);
    }
    if (j.status == G4_OK) j.status = find_orientation(&j, orientation);
    png_destroy_read_struct(&j.png, &j.info, NULL);
    free(j.rows);
    free(j.wide);
    return j.status;
}
