/* SPDX-License-Identifier: Apache-2.0
 * JPEG, WebP and EXIF: pixels against digests of what Transformers' load_image
 * made of the same file, orientations against Pillow's answers (both written by
 * golden/check_image.py --write), and files that are cut, bent or lie.  Every
 * bound is equality of bits; JPEG's may be, see [N39]. */
#include "harness/check/fault.h"
#include "ref/base/map.h"
#include "ref/base/sha256.h"
#include "ref/input/exif.h"
#include "ref/input/image.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

Suite *check_image_formats(void);

#define DATA "harness/check/data/media/"

static FILE *open_table(const char *name)
{
    FILE *f = fopen(name, "r");
    ck_assert_msg(f != NULL, "%s: cannot open", name);
    return f;
}

static uint8_t *read_file(const char *name, size_t *size)
{
    uint8_t *data;
    char path[128];
    g4_err err;
    snprintf(path, sizeof path, DATA "formats/%s", name);
    ck_assert_msg(g4_file_read(path, 1 << 20, &data, size, &err) == G4_OK, "%s", err.msg);
    return data;
}

/* Must fail with one line that names the file and holds `what`. */
static void expect_bad(const uint8_t *data, size_t size, const char *what)
{
    g4_image im;
    g4_err err;
    g4_status s = g4_image_decode(&im, "pic", data, size, &err);
    ck_assert_msg(s == G4_EINPUT, "status %d of %zu bytes, wanted '%s'", (int)s, size, what);
    ck_assert_ptr_null(im.rgb);
    ck_assert_msg(strncmp(err.msg, "pic: ", 5) == 0, "%s", err.msg);
    ck_assert_msg(strstr(err.msg, what) != NULL, "'%s' lacks '%s'", err.msg, what);
    ck_assert_ptr_null(strchr(err.msg, '\n'));
}

static void put16be(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put24le(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 3; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* Where bytes stand in a file; they must. */
static uint8_t *find(uint8_t *data, size_t size, const char *what, size_t n)
{
    uint8_t *p = memmem(data, size, what, n);
    ck_assert_ptr_nonnull(p);
    return p;
}

START_TEST(every_file_is_pillows)
{
    FILE *f = open_table(DATA "formats.txt");
    char name[64], want[80], hex[G4_SHA256_HEX], path[128];
    long long width, height;
    int rows = 0;
    for (; fscanf(f, "%63s %lld %lld %79s", name, &width, &height, want) == 4; rows++) {
        g4_image im;
        g4_err err;
        g4_sha256 sum;
        snprintf(path, sizeof path, DATA "formats/%s", name);
        ck_assert_msg(g4_image_read(&im, path, &err) == G4_OK, "%s", err.msg);
        ck_assert_msg(im.width == width && im.height == height, "%s: size", name);
        g4_sha256_begin(&sum);
        g4_sha256_add(&sum, im.rgb, (size_t)(im.width * im.height * 3));
        g4_sha256_end(&sum, hex);
        ck_assert_msg(strcmp(hex, want) == 0, "%s: pixels differ from Pillow's", name);
        g4_image_free(&im);
    }
    fclose(f);
    ck_assert_int_eq(rows, 52);
}
END_TEST

/* "-" or hexadecimal digits to bytes. */
static size_t unhex(const char *text, uint8_t *out, size_t room)
{
    size_t n = 0;
    if (text[0] == '-') return 0;
    for (; text[2 * n]; n++) {
        unsigned v;
        ck_assert_uint_lt(n, room);
        ck_assert_int_eq(sscanf(text + 2 * n, "%2x", &v), 1);
        out[n] = (uint8_t)v;
    }
    return n;
}

START_TEST(orientation_is_pillows)
{
    FILE *f = open_table(DATA "exif.txt");
    static char exif_hex[4096], xmp_hex[4096];
    uint8_t exif[2048], xmp[2048];
    int want, rows = 0;
    for (; fscanf(f, "%d %4095s %4095s", &want, exif_hex, xmp_hex) == 3; rows++) {
        size_t n = unhex(exif_hex, exif, sizeof exif), m = unhex(xmp_hex, xmp, sizeof xmp);
        /* Copies of the exact size, so that a sanitizer sees a read beyond. */
        uint8_t *e = malloc(n + !n), *x = malloc(m + !m);
        ck_assert(e && x);
        memcpy(e, exif, n);
        memcpy(x, xmp, m);
        g4_exif in = { n ? e : NULL, n, m ? x : NULL, m, 0 };
        g4_err err;
        int got = -1;
        g4_status s = g4_exif_orientation(&in, "pic", &got, &err);
        ck_assert_msg((s == G4_OK ? got : 0) == want, "row %d: %d, Pillow %d", rows + 1,
                      s == G4_OK ? got : 0, want);
        if (s != G4_OK) {
            ck_assert_str_eq(err.msg, "pic: damaged EXIF: no TIFF header");
            in.lenient = 1;
            ck_assert_int_eq(g4_exif_orientation(&in, "pic", &got, &err), G4_OK);
            ck_assert_int_eq(got, 1);
        }
        free(e);
        free(x);
    }
    fclose(f);
    ck_assert_int_eq(rows, 231);
}
END_TEST

static const char *const whole[] = {
    "420.jpg", "restarts_progressive.jpg", "progressive_cmyk.jpg", "turn6.jpg", "lossy.webp",
    "lossless.webp", "lossy_alpha.webp", "turn6.webp", "animation.webp", "profile6.png",
};
enum { WHOLE = sizeof whole / sizeof whole[0] };

START_TEST(truncated_anywhere)
{
    size_t size;
    uint8_t *data = read_file(whole[_i], &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = malloc(cut + !cut);   /* its own end, for the sanitizer */
        ck_assert_ptr_nonnull(part);
        memcpy(part, data, cut);
        expect_bad(part, cut, "");
        free(part);
    }
    free(data);
}
END_TEST

/* JPEG and WebP have no checksum: a bent file may decode, to a picture within the
 * limits, or be refused in one line. */
START_TEST(bent_anywhere)
{
    static const uint8_t masks[] = { 0x01, 0x80, 0xff };
    size_t size;
    uint8_t *data = read_file(whole[_i], &size);
    int refused = 0;
    for (size_t at = 0; at < size; at++)
        for (size_t m = 0; m < sizeof masks; m++) {
            g4_image im;
            g4_err err;
            data[at] ^= masks[m];
            if (g4_image_decode(&im, "pic", data, size, &err) == G4_OK) {
                ck_assert(im.rgb && im.width >= 1 && im.height >= 1);
                ck_assert_int_le(im.width * im.height, G4_IMAGE_MAX_PIXELS);
            } else {
                refused++;
                ck_assert_ptr_null(im.rgb);
                ck_assert_msg(strncmp(err.msg, "pic: ", 5) == 0, "%s", err.msg);
                ck_assert_ptr_null(strchr(err.msg, '\n'));
            }
            g4_image_free(&im);
            data[at] ^= masks[m];
        }
    ck_assert_int_gt(refused, 0);
    free(data);
}
END_TEST

START_TEST(jpeg_lies)
{
    static const struct {
        unsigned width, height;
        const char *what;
    } rows[] = {
        { 0, 21, "Empty" }, { 37, 0, "Empty" }, { 65535, 65535, "Maximum supported" },
        { 16385, 21, "out of range" }, { 37, 16385, "out of range" },
        { 16384, 16384, "more than" }, { 8000, 8000, "cannot come from" }, { 37, 2000, "" },
    };
    size_t size;
    uint8_t *data = read_file("420.jpg", &size), *sof = find(data, size, "\xff\xc0", 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put16be(sof + 5, rows[i].height);
        put16be(sof + 7, rows[i].width);
        expect_bad(data, size, rows[i].what);
    }
    put16be(sof + 5, 21);
    put16be(sof + 7, 37);
    sof[4] = 12;
    expect_bad(data, size, "precision");
    sof[4] = 8;
    sof[1] = 0xc3;
    expect_bad(data, size, "Unsupported JPEG process");
    sof[1] = 0xc0;
    sof[11] = 0x50;   /* a sampling factor of 5 */
    expect_bad(data, size, "sampling");
    sof[11] = 0x22;
    uint8_t *dht = find(data, size, "\xff\xc4", 2);
    uint8_t count = dht[5];
    dht[5] = 255;     /* codes of one bit */
    expect_bad(data, size, "Huffman");
    dht[5] = count;
    uint8_t *dqt = find(data, size, "\xff\xdb", 2);
    dqt[1] = 0xfe;
    expect_bad(data, size, "uantization table");
    dqt[1] = 0xdb;
    uint8_t *sos = find(data, size, "\xff\xda", 2);
    memset(sos + 14, 0x55, (size_t)(data + size - 2 - sos) - 14);
    expect_bad(data, size, "");
    free(data);
}
END_TEST

/* 8 x 8 pixels in `scans` progressive scans of one code each: the coefficients
 * one by one, each first by its highest bit, then refined.  3 x 63 x 14 are legal. */
static size_t many_scans(uint8_t *out, int scans)
{
    static const uint8_t head[] = {
        0xff, 0xd8, 0xff, 0xc2, 0, 17, 8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0,
        /* both Huffman tables: one code, '0', for the symbol 0 */
        0xff, 0xc4, 0, 20, 0x00, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0xdb, 0, 67, 0,
    };
    static const uint8_t dc[] = { 0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 0, 0, 0x1f };
    uint8_t *p = mempcpy(out, head, sizeof head);
    memset(p, 1, 64);
    p = mempcpy(p + 64, dc, sizeof dc);
    for (int i = 0; i < scans - 1; i++) {
        int step = i % 14, k = i / 14 % 63 + 1, component = i / 14 / 63 + 1, low = 13 - step;
        const uint8_t ac[] = { 0xff, 0xda, 0, 8, 1, (uint8_t)component, 0, (uint8_t)k, (uint8_t)k,
                               (uint8_t)((step ? low + 1 : 0) << 4 | low), 0x7f };
        p = mempcpy(p, ac, sizeof ac);
    }
    *p++ = 0xff;
    *p++ = 0xd9;
    return (size_t)(p - out);
}

START_TEST(scans_are_counted)
{
    uint8_t *data = malloc(256 + 11 * 2000);
    g4_image im;
    g4_err err;
    ck_assert_ptr_nonnull(data);
    size_t size = many_scans(data, 1000);
    ck_assert_msg(g4_image_decode(&im, "pic", data, size, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(im.width, 8);
    g4_image_free(&im);
    expect_bad(data, many_scans(data, 1001), "more than 1000 scans");
    free(data);
}
END_TEST

START_TEST(webp_lies)
{
    size_t size;
    uint8_t *data = read_file("lossless.webp", &size);
    uint8_t bits[4];
    memcpy(bits, data + 21, 4);          /* 14 bits of width - 1, 14 of height - 1 */
    memset(data + 21, 0xff, 3);
    data[24] = (uint8_t)(bits[3] | 0x0f);
    expect_bad(data, size, "more than"); /* 16384 x 16384 */
    memcpy(data + 21, bits, 4);
    data[22] |= 0x3f;                    /* wider than its bytes hold */
    expect_bad(data, size, "damaged WebP");
    memcpy(data + 21, bits, 4);
    data[4]++;                           /* the file claims to be longer */
    data[4]++;
    expect_bad(data, size, "ends too early");
    data[4] = (uint8_t)(data[4] - 2);
    memset(data + 16, 0xff, 4);          /* a chunk of 4 GB */
    expect_bad(data, size, "damaged WebP");
    free(data);

    data = read_file("turn6.webp", &size);
    put24le(data + 24, 16383);           /* the canvas is not the picture's size */
    expect_bad(data, size, "damaged WebP");
    put24le(data + 24, 0xffffff);
    put24le(data + 27, 0xffffff);
    expect_bad(data, size, "damaged WebP");
    free(data);

    data = read_file("animation.webp", &size);
    uint8_t *frame = find(data, size, "ANMF", 4);
    put24le(frame + 8, 8000);            /* a frame outside the canvas */
    expect_bad(data, size, "damaged WebP");
    put24le(frame + 8, 0);
    put24le(frame + 14, 0xffffff);       /* wider than its own picture, whose size counts */
    g4_image im;
    ck_assert_int_eq(g4_image_decode(&im, "pic", data, size, NULL), G4_OK);
    ck_assert_int_eq(im.width, 15);
    g4_image_free(&im);
    free(data);
}
END_TEST

static long peak_kilobytes(void)
{
    struct rusage use;
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &use), 0);
    return use.ru_maxrss;
}

START_TEST(png_chunk_longer_than_the_file)
{
    size_t size;
    uint8_t *data = read_file("profile6.png", &size);
    long before = peak_kilobytes();
    find(data, size, "zTXt", 4)[-4] = 0x7f;   /* 2 GB */
    expect_bad(data, size, "ends too early");
    ck_assert_int_lt(peak_kilobytes() - before, 100 << 10);
    free(data);
}
END_TEST

START_TEST(damaged_exif)
{
    static const char *const names[] = { "turn6.png", "turn6.webp", "turn6.jpg" };
    for (int i = 0; i < 3; i++) {
        size_t size;
        uint8_t *data = read_file(names[i], &size);
        uint8_t *tiff = find(data, size, "II*", 3);
        memset(tiff, 'X', 4);
        if (i == 0) {
            expect_bad(data, size, "damaged EXIF");   /* its checksum is not asked */
        } else if (i == 1) {
            expect_bad(data, size, "damaged EXIF");
        } else {
            uint8_t *jfif = find(data, size, "JFIF", 4);
            g4_image im;
            jfif[7] = 1;   /* dots per inch: Pillow first reads EXIF to turn, and stops */
            expect_bad(data, size, "damaged EXIF");
            jfif[7] = 0;
            ck_assert_int_eq(g4_image_decode(&im, "pic", data, size, NULL), G4_OK);
            ck_assert_int_eq(im.width, 9);   /* not turned */
            g4_image_free(&im);
        }
        free(data);
    }
}
END_TEST

START_TEST(named_by_their_bytes)
{
    expect_bad((const uint8_t *)"GIF89a", 6, "GIF is not read");
    expect_bad((const uint8_t *)"BM\0\0\0\0", 6, "BMP is not read");
    expect_bad((const uint8_t *)"II*\0\x08\0\0\0", 8, "TIFF is not read");
    expect_bad((const uint8_t *)"MM\0*\0\0\0\x08", 8, "TIFF is not read");
    expect_bad((const uint8_t *)"\0\0\0\x18" "ftypheic", 12, "HEIC is not read");
    expect_bad((const uint8_t *)"\0\0\0\x18" "ftypmif1", 12, "HEIC is not read");
    expect_bad((const uint8_t *)"\0\0\0\x18" "ftypavif", 12, "AVIF is not read");
    expect_bad((const uint8_t *)"\0\0\0\x18" "ftypisom", 12, "video or HEIF is not read");
    expect_bad((const uint8_t *)"\xff\xd8\xff\xe0", 4, "damaged JPEG");
    expect_bad((const uint8_t *)"RIFF\x04\0\0\0WEBP", 12, "damaged WebP");
    expect_bad((const uint8_t *)"RIFF\x04\0\0\0WAVE", 12, "not a PNG, JPEG or WebP");
}
END_TEST

START_TEST(allocations_fail)
{
    static const char *const names[] = { "turn6.jpg", "cmyk.jpg", "turn5.webp", "profile6.png" };
    char path[128];
    snprintf(path, sizeof path, DATA "formats/%s", names[_i]);
    for (long n = 1;; n++) {
        g4_image im;
        fault_alloc_arm(n, 0);
        g4_status s = g4_image_read(&im, path, NULL);
        g4_image_free(&im);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert_int_gt(n, 3);   /* the file, the pixels, and a third at least */
            break;
        }
        ck_assert_int_eq(s, G4_ENOMEM);
    }
}
END_TEST

Suite *check_image_formats(void)
{
    Suite *s = suite_create("image_formats");
    TCase *t = tcase_create("values");
    tcase_add_test(t, every_file_is_pillows);
    tcase_add_test(t, orientation_is_pillows);
    suite_add_tcase(s, t);
    t = tcase_create("bad");
    tcase_add_loop_test(t, truncated_anywhere, 0, WHOLE);
    tcase_add_loop_test(t, bent_anywhere, 0, WHOLE);
    tcase_add_test(t, jpeg_lies);
    tcase_add_test(t, scans_are_counted);
    tcase_add_test(t, webp_lies);
    tcase_add_test(t, png_chunk_longer_than_the_file);
    tcase_add_test(t, damaged_exif);
    tcase_add_test(t, named_by_their_bytes);
    tcase_add_loop_test(t, allocations_fail, 0, 4);
    suite_add_tcase(s, t);
    return s;
}
