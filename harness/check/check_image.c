/* SPDX-License-Identifier: Apache-2.0
 * PNG decoding, resize and patches against digests of what Pillow and torch
 * made of the same input (golden/check_image.py --write), and damaged files.
 * Every bound here is equality of bits. */
#include "harness/check/fault.h"
#include "ref/base/map.h"
#include "ref/base/rng.h"
#include "ref/base/sha256.h"
#include "ref/input/image.h"
#include "ref/input/resize.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_image(void);

#define DATA "harness/check/data/media/"

static const g4_visual plain = { .patch_size = 16, .pooling_kernel_size = 3,
                                 .max_soft_tokens = 280, .rescale_factor = 0.00392156862745098,
                                 .image_std = { 1, 1, 1 } };

static FILE *open_table(const char *name)
{
    FILE *f = fopen(name, "r");
    ck_assert_msg(f != NULL, "%s: cannot open", name);
    return f;
}

static void digest(const void *a, size_t na, const void *b, size_t nb, char hex[G4_SHA256_HEX])
{
    g4_sha256 s;
    g4_sha256_begin(&s);
    g4_sha256_add(&s, a, na);
    g4_sha256_add(&s, b, nb);
    g4_sha256_end(&s, hex);
}

/* The picture of check_image.py's noise(). */
static g4_image noise(int64_t width, int64_t height, uint64_t seed)
{
    size_t n = (size_t)(width * height * 3);
    g4_image im = { width, height, malloc(n) };
    ck_assert_ptr_nonnull(im.rgb);
    for (size_t i = 0; i < n; i++) im.rgb[i] = (uint8_t)(g4_mix64(i + (seed << 32)) >> 56);
    return im;
}

START_TEST(every_mode_is_pillows)
{
    FILE *f = open_table(DATA "png.txt");
    char name[64], want[80], hex[G4_SHA256_HEX], path[128];
    long long width, height;
    int rows = 0;
    for (; fscanf(f, "%63s %lld %lld %79s", name, &width, &height, want) == 4; rows++) {
        g4_image im;
        g4_err err;
        snprintf(path, sizeof path, DATA "%s", name);
        ck_assert_msg(g4_image_read(&im, path, &err) == G4_OK, "%s", err.msg);
        ck_assert_int_eq(im.width, width);
        ck_assert_int_eq(im.height, height);
        digest(im.rgb, (size_t)(im.width * im.height * 3), "", 0, hex);
        ck_assert_msg(strcmp(hex, want) == 0, "%s: pixels differ from Pillow's", name);
        g4_image_free(&im);
    }
    fclose(f);
    ck_assert_int_eq(rows, 30);   /* 15 pairs of colour type and depth, interlaced or not */
}
END_TEST

START_TEST(resize_is_torchs)
{
    FILE *f = open_table(DATA "resize.txt");
    long long w, h, ow, oh, seed;
    char want[80], hex[G4_SHA256_HEX];
    int rows = 0;
    for (; fscanf(f, "%lld %lld %lld %lld %lld %79s", &w, &h, &ow, &oh, &seed, want) == 6;
         rows++) {
        g4_image in = noise(w, h, (uint64_t)seed), out;
        ck_assert_int_eq(g4_image_resize(&in, ow, oh, &out, NULL), G4_OK);
        digest(out.rgb, (size_t)(ow * oh * 3), "", 0, hex);
        ck_assert_msg(strcmp(hex, want) == 0, "%lld x %lld to %lld x %lld differs", w, h, ow, oh);
        g4_image_free(&in);
        g4_image_free(&out);
    }
    fclose(f);
    ck_assert_int_eq(rows, 12);
}
END_TEST

START_TEST(same_size_is_a_copy)
{
    g4_image in = noise(96, 48, 3), out;
    ck_assert_int_eq(g4_image_resize(&in, 96, 48, &out, NULL), G4_OK);
    ck_assert_ptr_ne(in.rgb, out.rgb);
    ck_assert_mem_eq(in.rgb, out.rgb, 96 * 48 * 3);
    g4_image_free(&in);
    g4_image_free(&out);
}
END_TEST

START_TEST(patches_are_transformers)
{
    FILE *f = open_table(DATA "patches.txt");
    long long w, h, budget, normalize, seed;
    char want[80], hex[G4_SHA256_HEX];
    int rows = 0;
    for (; fscanf(f, "%lld %lld %lld %lld %lld %79s", &w, &h, &budget, &normalize, &seed, want) ==
           6; rows++) {
        g4_visual v = plain;
        v.do_normalize = normalize != 0;
        if (normalize == 2)
            for (int c = 0; c < 3; c++) {
                v.image_mean[c] = 0.25 * c;
                v.image_std[c] = c == 0 ? 1.0 : c == 1 ? 0.5 : 0.3;
            }
        size_t values = (size_t)budget * 48 * 48 * 3;
        float *pixels = malloc(values * sizeof *pixels);
        int32_t *positions = malloc((size_t)budget * 2 * sizeof *positions);
        int64_t count = 0;
        ck_assert(pixels && positions);
        g4_image im = noise(w, h, (uint64_t)seed);
        ck_assert_int_eq(g4_image_patches(&im, &v, budget, pixels, positions, &count, NULL), G4_OK);
        digest(pixels, values * 4, positions, (size_t)budget * 8, hex);
        ck_assert_msg(strcmp(hex, want) == 0, "%lld x %lld at %lld differs", w, h, budget);
        ck_assert(count >= 1 && count <= budget);
        ck_assert_int_ne(positions[2 * count - 2], -1);
        if (count < budget) ck_assert_int_eq(positions[2 * count], -1);
        g4_image_free(&im);
        free(pixels);
        free(positions);
    }
    fclose(f);
    ck_assert_int_eq(rows, 8);
}
END_TEST

START_TEST(sizes_keep_the_aspect)
{
    /* From get_aspect_ratio_preserving_size; in, budget, out as width x height.
     * The last rows: a side that would become 0 is one patch, and the other no
     * longer than the budget. */
    static const int64_t rows[][5] = {
        { 331, 200, 70, 480, 288 },   { 150, 517, 70, 192, 720 },   { 48, 48, 70, 384, 384 },
        { 4000, 3000, 280, 912, 672 }, { 1, 1, 1120, 1584, 1584 },  { 672, 480, 140, 672, 480 },
        { 5000, 1, 70, 3360, 48 },    { 1, 5000, 280, 48, 13440 },  { 100, 1, 560, 11328, 96 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t w, h;
        g4_image_fit(&plain, rows[i][2], rows[i][0], rows[i][1], &w, &h);
        ck_assert_int_eq(w, rows[i][3]);
        ck_assert_int_eq(h, rows[i][4]);
    }
}
END_TEST

/* ---------------------------------------------------------------- bad files */

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

/* Writes a big-endian number at p; for IHDR fields, at 16 + offset. */
static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint8_t *read_file(const char *name, size_t *size)
{
    uint8_t *data;
    g4_err err;
    ck_assert_msg(g4_file_read(name, 1 << 20, &data, size, &err) == G4_OK, "%s", err.msg);
    return data;
}

/* Must fail with a line that names the file and holds `what`. */
static void expect_bad(const uint8_t *data, size_t size, const char *what)
{
    g4_image im;
    g4_err err;
    ck_assert_int_eq(g4_image_decode(&im, "pic.png", data, size, &err), G4_EINPUT);
    ck_assert_ptr_null(im.rgb);
    ck_assert_msg(strncmp(err.msg, "pic.png: ", 9) == 0, "%s", err.msg);
    ck_assert_msg(strstr(err.msg, what) != NULL, "'%s' lacks '%s'", err.msg, what);
    ck_assert_ptr_null(strchr(err.msg, '\n'));
}

/* Every shorter file of every mode: the image is not whole until IEND is. */
START_TEST(truncated_anywhere)
{
    static const char *const names[] = { "c2d8i0.png", "c3d4i1.png", "c0d16i1.png" };
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        size_t size;
        snprintf(path, sizeof path, DATA "%s", names[i]);
        uint8_t *data = read_file(path, &size);
        for (size_t cut = 0; cut < size; cut++) expect_bad(data, cut, "");
        free(data);
    }
}
END_TEST

START_TEST(flipped_bits_never_crash)
{
    size_t size;
    uint8_t *data = read_file(DATA "c6d16i1.png", &size);
    for (size_t at = 0; at < size; at++) {
        g4_image im;
        g4_err err;
        data[at] ^= 0x10;
        /* All but a chunk's own CRC is covered by one: no flip may go unseen. */
        ck_assert_msg(g4_image_decode(&im, "x", data, size, &err) != G4_OK, "byte %zu", at);
        data[at] ^= 0x10;
    }
    free(data);
}
END_TEST

START_TEST(lying_headers)
{
    static const struct {
        uint32_t width, height;
        const char *what;
    } rows[] = {
        { 0, 11, "IHDR" }, { 13, 0, "IHDR" }, { 14, 11, "" }, { 13, 12, "" },
        { 16385, 1, "width" }, { 1, 16385, "height" }, { 0x80000000u, 1, "" },
        { 16384, 16384, "more than" },      /* within the sides, over the pixels */
        { 8000, 8000, "cannot come from" }, /* 192 MB from some hundred bytes */
    };
    size_t size;
    uint8_t *data = read_file(DATA "c2d8i0.png", &size);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put32(data + 16, rows[i].width);
        put32(data + 20, rows[i].height);
        put32(data + 29, crc32_of(data + 12, 17));
        expect_bad(data, size, rows[i].what);
    }
    put32(data + 16, 13);   /* back to the truth, but for the checksum */
    put32(data + 20, 11);
    put32(data + 29, 0);
    expect_bad(data, size, "CRC");
    free(data);
}
END_TEST

START_TEST(palette_too_short)
{
    size_t size;
    uint8_t *data = read_file(DATA "c3d8i0.png", &size);
    /* PLTE follows IHDR at 33: make its 256 colours one, and the rest of the
     * chunk an unknown ancillary one ("junk") that a decoder must skip. */
    ck_assert_mem_eq(data + 37, "PLTE", 4);
    uint32_t rest = 765 - 12;
    put32(data + 33, 3);
    put32(data + 44, crc32_of(data + 37, 7));
    put32(data + 48, rest);
    memcpy(data + 52, "juNk", 4);
    put32(data + 56 + rest, crc32_of(data + 52, rest + 4));
    memmove(data + 60 + rest, data + 33 + 12 + 768, size - (33 + 12 + 768));
    expect_bad(data, 60 + rest + size - (33 + 12 + 768), "of a palette of 1");
    free(data);
}
END_TEST

START_TEST(other_formats_by_name)
{
    expect_bad((const uint8_t *)"\xff\xd8\xff\xe0...........", 15, "JPEG");
    expect_bad((const uint8_t *)"RIFF\0\0\0\0WEBPVP8 ", 16, "WebP");
    expect_bad((const uint8_t *)"GIF89a", 6, "GIF");
    expect_bad((const uint8_t *)"hello, world", 12, "not a PNG");
    expect_bad(NULL, 0, "empty");
}
END_TEST

START_TEST(not_regular_files)
{
    g4_image im;
    g4_err err;
    char fifo[] = "/tmp/g4_check_XXXXXX";
    ck_assert_int_eq(g4_image_read(&im, DATA, &err), G4_EINPUT);
    ck_assert_int_eq(g4_image_read(&im, "/dev/zero", &err), G4_EINPUT);
    ck_assert_int_eq(g4_image_read(&im, DATA "none.png", &err), G4_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "none.png"));
    ck_assert_ptr_nonnull(mkdtemp(fifo));
    char path[64];
    snprintf(path, sizeof path, "%s/p", fifo);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(g4_image_read(&im, path, &err), G4_EINPUT);   /* at once: no reader waits */
    unlink(path);
    rmdir(fifo);
}
END_TEST

START_TEST(allocations_fail)
{
    float *pixels = malloc(70 * 6912 * sizeof *pixels);
    int32_t positions[140];
    ck_assert_ptr_nonnull(pixels);
    for (long n = 1;; n++) {
        g4_image im;
        int64_t count;
        fault_alloc_arm(n, 0);
        g4_status s = g4_image_read(&im, DATA "c3d8i1.png", NULL);
        if (s == G4_OK) s = g4_image_patches(&im, &plain, 70, pixels, positions, &count, NULL);
        g4_image_free(&im);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert_int_gt(n, 8);   /* the window saw the loader and the resize */
            break;
        }
        ck_assert_int_eq(s, G4_ENOMEM);
    }
    free(pixels);
}
END_TEST

Suite *check_image(void)
{
    Suite *s = suite_create("image");
    TCase *t = tcase_create("values");
    tcase_add_test(t, every_mode_is_pillows);
    tcase_add_test(t, resize_is_torchs);
    tcase_add_test(t, same_size_is_a_copy);
    tcase_add_test(t, patches_are_transformers);
    tcase_add_test(t, sizes_keep_the_aspect);
    suite_add_tcase(s, t);
    t = tcase_create("bad");
    tcase_add_test(t, truncated_anywhere);
    tcase_add_test(t, flipped_bits_never_crash);
    tcase_add_test(t, lying_headers);
    tcase_add_test(t, palette_too_short);
    tcase_add_test(t, other_formats_by_name);
    tcase_add_test(t, not_regular_files);
    tcase_add_test(t, allocations_fail);
    suite_add_tcase(s, t);
    return s;
}
