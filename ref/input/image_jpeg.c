/* SPDX-License-Identifier: Apache-2.0
 * JPEG by libjpeg(-turbo): baseline and progressive, grey, YCbCr, RGB, CMYK and
 * YCCK, with the settings Pillow leaves alone: exact integer inverse DCT
 * (JDCT_ISLOW) and smooth ("fancy") chroma upsampling.  Both have the same bits
 * with and without SIMD, so a picture's pixels do not depend on the machine [N39].
 *
 * libjpeg ends the process on an error unless error_exit leaves by longjmp; so
 * all that must be freed lives in a struct of the caller, and the function that
 * calls setjmp has no local it changes after setjmp. */
#include "ref/input/exif.h"
#include "ref/input/image_impl.h"

#include <setjmp.h>
#include <stdio.h>   /* before jpeglib.h, which needs FILE and size_t */
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

enum {
    MAX_SCANS = 1000,       /* of small pictures; libjpeg's own script has 10 */
    MAX_WORK = 24,          /* whole pictures' worth of scans over the largest size */
    MAX_MEMORY = 640 << 20, /* 64 Mpx of four coefficients a pixel are 512 MB */
    PIXELS_PER_BYTE = 512,  /* a block of 64 pixels costs a bit or more in its first scan */
};

typedef struct job {
    struct jpeg_error_mgr errors;      /* first: libjpeg hands out its address */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct jpeg;
    jmp_buf out;
    const char *name;
    size_t size;
    g4_image *im;
    int *orientation;
    g4_status status;
    g4_err *err;
    uint8_t *row;                      /* [width][1 or 4], where rows are not RGB */
    uint8_t *exif;                     /* the APP1 segments of EXIF, joined */
} job;

static void __attribute__((noreturn)) leave(job *j, g4_status s)
{
    j->status = s;
    longjmp(j->out, 1);
}

static void __attribute__((noreturn)) on_error(j_common_ptr c)
{
    job *j = (job *)c->err;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    if (c->err->msg_code == JERR_OUT_OF_MEMORY) leave(j, g4_nomem(j->err, j->name));
    leave(j, g4_fail(j->err, G4_EINPUT, "%s: damaged JPEG: %.160s", j->name, text));
}

/* Level -1 is a warning: libjpeg would go on with invented pixels.  Three are no
 * damage: padding between segments, and unknown JFIF or Adobe versions. */
static void on_message(j_common_ptr c, int level)
{
    int code = c->err->msg_code;
    if (level >= 0 || code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR ||
        code == JWRN_ADOBE_XFORM)
        return;
    on_error(c);
}

/* Called again and again while scans are read: a progressive file may ask for any
 * number of passes over all coefficients. */
static void on_progress(j_common_ptr c)
{
    job *j = (job *)c->err;
    int64_t scans = j->jpeg.input_scan_number, limit = MAX_SCANS;
    int64_t pixels = (int64_t)j->jpeg.image_width * j->jpeg.image_height;
    int64_t fit = (int64_t)MAX_WORK * G4_IMAGE_MAX_PIXELS / pixels;
    if (fit < limit) limit = fit;
    if (scans > limit)
        leave(j, g4_fail(j->err, G4_EINPUT, "%s: more than %d scans", j->name, (int)limit));
}

/* a * b / 255, rounded as Pillow does. */
static int mul255(int a, int b)
{
    int t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

/* A row of libjpeg's to RGB.  CMYK: files hold 255 - ink (Adobe's way, assumed for
 * all), and Pillow's colour is what the black leaves over, less the ink's share. */
static void store_row(const job *j, uint8_t *to)
{
    const uint8_t *p = j->row;
    int cmyk = j->jpeg.output_components == 4;
    for (int64_t x = 0; x < j->im->width; x++, to += 3) {
        if (!cmyk) {
            memset(to, *p++, 3);
            continue;
        }
        int left = p[3];
        for (int c = 0; c < 3; c++) {
            int v = left - mul255(255 - p[c], left);
            to[c] = (uint8_t)(v < 0 ? 0 : v);
        }
        p += 4;
    }
}

static void check_header(job *j)
{
    const struct jpeg_decompress_struct *c = &j->jpeg;
    int n = c->num_components;
    g4_status s = g4_image_check_size(j->name, c->image_width, c->image_height, j->err);
    if (s != G4_OK) leave(j, s);
    if (n != 1 && n != 3 && n != 4)
        leave(j, g4_fail(j->err, G4_EINPUT, "%s: JPEG of %d components, only 1, 3 and 4 are read",
                         j->name, n));
    uint64_t pixels = (uint64_t)c->image_width * c->image_height;
    /* Arithmetic coding has no such bound: nothing is known of it here. */
    if (!c->arith_code && pixels / PIXELS_PER_BYTE > j->size)
        leave(j, g4_fail(j->err, G4_EINPUT,
                         "%s: damaged JPEG: %u x %u pixels cannot come from %zu bytes", j->name,
                         c->image_width, c->image_height, j->size));
}

static int starts(const struct jpeg_marker_struct *m, const char *head, size_t n)
{
    return m->data_length >= n && memcmp(m->data, head, n) == 0;
}

/* EXIF may be spread over segments, each with its own head; of XMP the last counts.
 * Pillow reads EXIF early where JFIF states no dots per inch, and there alone gets
 * over EXIF that is damaged. */
static g4_status find_orientation(job *j)
{
    static const char exif_head[] = "Exif\0", xmp_head[] = "http://ns.adobe.com/xap/1.0/";
    const size_t exif_skip = sizeof exif_head, xmp_skip = sizeof xmp_head;
    int dpi = j->jpeg.saw_JFIF_marker && (j->jpeg.density_unit == 1 || j->jpeg.density_unit == 2);
    g4_exif e = { NULL, 0, NULL, 0, !dpi };
    size_t total = 0;
    for (jpeg_saved_marker_ptr m = j->jpeg.marker_list; m; m = m->next)
        if (starts(m, exif_head, exif_skip)) total += m->data_length;
    if (total && !(j->exif = malloc(total))) return g4_nomem(j->err, j->name);
    for (jpeg_saved_marker_ptr m = j->jpeg.marker_list; m; m = m->next) {
        if (starts(m, exif_head, exif_skip)) {
            size_t skip = e.exif ? exif_skip : 0, n = m->data_length - skip;
            memcpy(j->exif + e.exif_size, m->data + skip, n);
            e.exif_size += n;
            e.exif = j->exif;
        } else if (starts(m, xmp_head, xmp_skip)) {
            e.xmp = m->data + xmp_skip;
            e.xmp_size = m->data_length - xmp_skip;
        }
    }
    return g4_exif_orientation(&e, j->name, j->orientation, j->err);
}

static void decode_body(job *j, const uint8_t *data)
{
    struct jpeg_decompress_struct *c = &j->jpeg;
    jpeg_create_decompress(c);
    c->mem->max_memory_to_use = MAX_MEMORY;
    c->progress = &j->progress;
    jpeg_mem_src(c, data, j->size);
    jpeg_save_markers(c, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(c, TRUE);
    check_header(j);
    g4_status s = find_orientation(j);   /* now: the end frees the markers */
    if (s != G4_OK) leave(j, s);
    int n = c->num_components;
    c->out_color_space = n == 1 ? JCS_GRAYSCALE : n == 3 ? JCS_RGB : JCS_CMYK;
    c->dct_method = JDCT_ISLOW;
    size_t width = c->image_width;
    s = g4_image_alloc(j->im, j->name, width, c->image_height, j->err);
    if (s == G4_OK && n != 3 && !(j->row = malloc(width * 4))) s = g4_nomem(j->err, j->name);
    if (s != G4_OK) leave(j, s);
    jpeg_start_decompress(c);
    while (c->output_scanline < c->output_height) {
        uint8_t *to = j->im->rgb + 3 * width * c->output_scanline;
        JSAMPROW row = n == 3 ? to : j->row;
        jpeg_read_scanlines(c, &row, 1);
        if (n != 3) store_row(j, to);
    }
    jpeg_finish_decompress(c);   /* reads on to the end marker */
}

/* The setjmp frame. */
static void decode_guarded(job *j, const uint8_t *data)
{
    if (setjmp(j->out) == 0) decode_body(j, data);
}

g4_status g4_jpeg_decode(g4_image *im, int *orientation, const char *name, const uint8_t *data,
                         size_t size, g4_err *err)
{
    job j;
    memset(&j, 0, sizeof j);
    j.name = name;
    j.size = size;
    j.im = im;
    j.orientation = orientation;
    j.err = err;
    j.jpeg.err = jpeg_std_error(&j.errors);
    j.errors.error_exit = on_error;
    j.errors.emit_message = on_message;
    j.progress.progress_monitor = on_progress;
    decode_guarded(&j, data);
    jpeg_destroy_decompress(&j.jpeg);
    free(j.row);
    free(j.exif);
    return j.status;
}
