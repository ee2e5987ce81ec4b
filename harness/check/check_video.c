/* SPDX-License-Identifier: Apache-2.0
 * Video files, where libav was built in; elsewhere that the message says what to
 * install.  three.mp4 (H.264, 5 frames a second), turned.mp4 (the same with a
 * display matrix of a quarter turn), vary.webm (VP8, frames at 0, 0.2, 1, 2 and
 * 2.6 s) and late.webm (the same, its clock starting at 5 s) show 96 x 64 pixels:
 * the left half red, green, blue for a second each, the right half grey.  Colours
 * are compared, not digests: decoders of other versions may differ in a rounding. */
#include "harness/check/fault.h"
#include "ref/base/map.h"
#include "ref/input/video.h"
#include "ref/input/video_libav.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *check_video(void);

#define DATA "harness/check/data/media/"

enum { MAX_SEEN = 96 };

typedef struct seen {
    int count, stop_at;          /* stop_at: the sink fails there; -1 never */
    double seconds[MAX_SEEN];
    int64_t width, height;
    uint8_t quarter[MAX_SEEN][3], last[MAX_SEEN][3];   /* see look */
} seen;

/* Keeps the pixels in the middle of the upper left and the lower right quarter. */
static g4_status look(void *ctx, const g4_image *im, double seconds, g4_err *err)
{
    seen *s = ctx;
    if (s->count == s->stop_at) return g4_fail(err, G4_EIO, "enough");
    ck_assert_int_lt(s->count, MAX_SEEN);
    const uint8_t *first = im->rgb + 3 * (im->height / 4 * im->width + im->width / 4);
    const uint8_t *last = im->rgb + 3 * (im->height * 3 / 4 * im->width + im->width * 3 / 4);
    memcpy(s->quarter[s->count], first, 3);
    memcpy(s->last[s->count], last, 3);
    s->seconds[s->count++] = seconds;
    s->width = im->width;
    s->height = im->height;
    return G4_OK;
}

static const g4_video_sampling plain = { 0, 0 };

static g4_status watch_so(seen *s, const char *path, const g4_video_sampling *how,
                          g4_video_info *info, g4_err *err)
{
    memset(s, 0, sizeof *s);
    s->stop_at = -1;
    return g4_video_read(path, how, look, s, info, err);
}

static g4_status watch(seen *s, const char *path, g4_video_info *info, g4_err *err)
{
    return watch_so(s, path, &plain, info, err);
}

static int built_in(void)
{
    g4_libav *av;
    int built = g4_libav_open(&av, "x", NULL) == G4_OK;
    g4_libav_close(av);
    return built;
}

/* Coding at this quality and 4:2:0 keep a flat colour within a few of 255 steps;
 * the colours are 150 apart. */
static void expect_colour(const uint8_t *got, int r, int g, int b, const char *what)
{
    ck_assert_msg(abs(got[0] - r) < 20 && abs(got[1] - g) < 20 && abs(got[2] - b) < 20,
                  "%s: (%d, %d, %d), expected about (%d, %d, %d)", what, got[0], got[1], got[2], r,
                  g, b);
}

START_TEST(the_frame_that_covers_the_second)
{
    static const struct {
        const char *path, *note;
        int turned;
    } rows[] = { { DATA "three.mp4", "h264, 96 x 64", 0 }, { DATA "turned.mp4", "h264", 1 },
                 { DATA "vary.webm", "vp8", 0 },
                 { DATA "late.webm", "vp8", 0 } };
    seen s;
    g4_video_info info;
    g4_err err;
    ck_assert_msg(watch(&s, rows[_i].path, &info, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(s.count, 3);
    ck_assert_int_eq(s.width, rows[_i].turned ? 64 : 96);
    ck_assert_int_eq(s.height, rows[_i].turned ? 96 : 64);
    ck_assert_str_eq(info.warning, "");
    ck_assert_msg(strstr(info.note, rows[_i].note) && strstr(info.note, "3 frames, one a second") &&
                      strstr(info.note, "libavcodec "), "%s", info.note);
    for (int i = 0; i < 3; i++) {
        /* Turned back by 90 degrees, the left half lies below. */
        const uint8_t *colour = rows[_i].turned ? s.last[i] : s.quarter[i];
        const uint8_t *grey = rows[_i].turned ? s.quarter[i] : s.last[i];
        expect_colour(colour, i == 0 ? 200 : 50, i == 1 ? 200 : 50, i == 2 ? 200 : 50, "colour");
        expect_colour(grey, 128, 128, 128, "grey");
        ck_assert(s.seconds[i] == i);
    }
}
END_TEST

/* An uncompressed file of `frames` grey frames at num/den a second; frame i has
 * luma 16 + i mod 200, which is grey (i mod 200) * 255 / 219. */
static void write_y4m(const char *path, int num, int den, int frames)
{
    uint8_t plane[16 * 16 * 3 / 2];
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "YUV4MPEG2 W16 H16 F%d:%d Ip A1:1 C420jpeg\n", num, den);
    for (int i = 0; i < frames; i++) {
        memset(plane, 128, sizeof plane);
        memset(plane, 16 + i % 200, 16 * 16);
        fputs("FRAME\n", f);
        ck_assert_uint_eq(fwrite(plane, 1, sizeof plane, f), sizeof plane);
    }
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(sampling_is_one_a_second)
{
    static const struct {
        int num, den, frames, want;
        const char *warning;
    } rows[] = {
        { 1, 1, 1, 1, "" }, { 1, 1, 60, 60, "" }, { 1, 1, 61, 60, "longer than 60 s" },
        { 25, 1, 25, 1, "" }, { 25, 1, 26, 2, "" }, { 25, 1, 100, 4, "" }, { 10, 1, 5, 1, "" },
        { 30000, 1001, 90, 4, "" },     /* 3.003 s */
        { 30000, 1001, 89, 3, "" },     /* 2.97 s */
        { 1, 2, 3, 6, "" },             /* each frame serves two seconds */
    };
    seen s;
    g4_video_info info;
    g4_err err;
    char path[] = "/tmp/g4_check_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    write_y4m(path, rows[_i].num, rows[_i].den, rows[_i].frames);
    ck_assert_msg(watch(&s, path, &info, &err) == G4_OK, "%s", err.msg);
    unlink(path);
    ck_assert_int_eq(s.count, rows[_i].want);
    for (int t = 0; t < s.count; t++) {
        int frame = t * rows[_i].num / rows[_i].den;   /* the last that begins by t */
        int grey = (frame % 200 * 255 + 109) / 219;
        ck_assert(s.seconds[t] == t);
        /* 219 steps of luma become 255: neighbours differ by 1 at least. */
        ck_assert_msg(abs(s.quarter[t][1] - grey) < 1 + (rows[_i].num == 1), "t %d: %d, not %d", t,
                      s.quarter[t][1], grey);
    }
    ck_assert_msg(strncmp(info.warning, rows[_i].warning, strlen(rows[_i].warning)) == 0 &&
                      !info.warning[0] == !rows[_i].warning[0], "%s", info.warning);
}
END_TEST

/* Other choices: frame, its time, and what the note says of them. */
START_TEST(sampling_as_asked)
{
    static const struct {
        int num, den, frames;
        g4_video_sampling how;
        int want, step;          /* frames taken; from one to the next */
        const char *note, *warning;
    } rows[] = {
        { 10, 1, 40, { 2, 0 }, 8, 5, "8 frames, 2 a second", "" },
        { 10, 1, 40, { 0.5, 0 }, 2, 20, "2 frames, 0.5 a second", "" },
        { 25, 1, 199, { 5, 0 }, 40, 5, "40 frames, 5 a second", "" },
        { 10, 1, 100, { 10, 0 }, 60, 1, "60 frames, 10", "longer than 6 s, cut to its first 60" },
        { 10, 1, 40, { 0, 4 }, 4, 10, "4 frames of 40, evenly", "" },
        { 10, 1, 40, { 0, 1 }, 1, 0, "1 frames of 40, evenly", "" },
        { 30, 1, 96, { 0, 32 }, 32, 3, "32 frames of 96, evenly", "" },
        { 10, 1, 7, { 0, 32 }, 7, 1, "7 frames of 7, evenly", "" },
        { 10, 1, 180, { 0, 90 }, 90, 2, "90 frames of 180, evenly", "" },
    };
    seen s;
    g4_video_info info;
    g4_err err;
    char path[] = "/tmp/g4_check_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    write_y4m(path, rows[_i].num, rows[_i].den, rows[_i].frames);
    ck_assert_msg(watch_so(&s, path, &rows[_i].how, &info, &err) == G4_OK, "%s", err.msg);
    unlink(path);
    ck_assert_int_eq(s.count, rows[_i].want);
    for (int t = 0; t < s.count; t++) {
        int frame = t * rows[_i].step, grey = (frame * 255 + 109) / 219;
        double at = (double)frame * rows[_i].den / rows[_i].num;
        ck_assert_msg(fabs(s.seconds[t] - at) < 1e-9, "%d: %g, not %g", t, s.seconds[t], at);
        ck_assert_msg(abs(s.quarter[t][1] - grey) < 1, "%d: %d, not %d", t, s.quarter[t][1], grey);
    }
    ck_assert_msg(strstr(info.note, rows[_i].note) != NULL, "%s", info.note);
    ck_assert_msg(strstr(info.warning, rows[_i].warning) && !info.warning[0] == !*rows[_i].warning,
                  "%s", info.warning);
}
END_TEST

static void no_child_left(void)
{
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}

static void expect_bad(const char *path, const char *what)
{
    seen s;
    g4_video_info info;
    g4_err err;
    ck_assert_msg(watch(&s, path, &info, &err) != G4_OK, "%s: accepted, but %s", path, what);
    ck_assert_msg(strncmp(err.msg, path, strlen(path)) == 0 && strstr(err.msg, what), "%s",
                  err.msg);
    ck_assert_ptr_null(strchr(err.msg, '\n'));
    no_child_left();
}

START_TEST(not_a_video)
{
    expect_bad(DATA "sound.ogg", "no video in it, only sound");
    expect_bad(DATA "png.txt", "not a video that libav can read here");
    expect_bad(DATA "none.mp4", "cannot open");
    expect_bad("/dev/null", "not a regular file");
}
END_TEST

START_TEST(not_built_in)
{
    expect_bad(DATA "three.mp4", "install libavformat-dev, libavcodec-dev, libavutil-dev");
}
END_TEST

/* A part of a file is an error or says that it is a part. */
START_TEST(truncated_anywhere)
{
    uint8_t *data;
    size_t size;
    g4_video_info info;
    seen s;
    g4_err err;
    char path[] = "/tmp/g4_check_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(g4_file_read(DATA "three.mp4", 1 << 20, &data, &size, &err), G4_OK);
    for (size_t cut = 0, was = 0; cut < size; was = cut, cut += 97) {
        ck_assert_int_eq(write(fd, data + was, cut - was), cut - was);
        if (watch(&s, path, &info, &err) != G4_OK) continue;
        ck_assert_msg(s.count < 3 || info.warning[0], "%zu of %zu bytes: no warning", cut, size);
    }
    close(fd);
    unlink(path);
    free(data);
    no_child_left();
}
END_TEST

/* Each byte in turn is flipped: an error or pictures, and the child is gone. */
START_TEST(damaged_anywhere)
{
    uint8_t *data;
    size_t size;
    g4_video_info info;
    seen s;
    g4_err err;
    char path[] = "/tmp/g4_check_XXXXXX";
    int fd = mkstemp(path), refused = 0;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(g4_file_read(DATA "vary.webm", 1 << 20, &data, &size, &err), G4_OK);
    ck_assert_int_eq(write(fd, data, size), size);
    for (size_t i = 0; i < size; i += 7) {
        uint8_t bad = data[i] ^ 0xff;
        ck_assert_int_eq(pwrite(fd, &bad, 1, (off_t)i), 1);
        refused += watch(&s, path, &info, &err) != G4_OK;
        ck_assert_int_eq(pwrite(fd, data + i, 1, (off_t)i), 1);
    }
    ck_assert_int_gt(refused, 0);
    close(fd);
    unlink(path);
    free(data);
    no_child_left();
}
END_TEST

START_TEST(a_sink_may_stop_it)
{
    seen s = { .stop_at = 1 };
    g4_video_info info;
    g4_err err;
    ck_assert_int_eq(g4_video_read(DATA "three.mp4", &plain, look, &s, &info, &err), G4_EIO);
    ck_assert_str_eq(err.msg, "enough");
    ck_assert_int_eq(s.count, 1);
    no_child_left();
}
END_TEST

/* libcheck's own allocations must stay out of the window. */
static g4_status count_only(void *ctx, const g4_image *im, double seconds, g4_err *err)
{
    (void)im;
    (void)seconds;
    (void)err;
    ++*(int *)ctx;
    return G4_OK;
}

/* In the child, too: it has a copy of the window. */
START_TEST(allocations_fail)   /* _i: by time, or evenly */
{
    static const g4_video_sampling evenly = { 0, 3 };
    const g4_video_sampling *how = _i ? &evenly : &plain;
    for (long n = 1;; n++) {
        g4_video_info info;
        int count = 0;
        fault_alloc_arm(n, 0);
        g4_status got = g4_video_read(DATA "three.mp4", how, count_only, &count, &info, NULL);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        no_child_left();
        if (got == G4_OK) {
            ck_assert_int_eq(fault_fired(), 0);
            ck_assert_int_eq(count, 3);
            ck_assert_int_gt(n, 1);
            break;
        }
        ck_assert_int_eq(got, G4_ENOMEM);
    }
}
END_TEST

/* In this very process, so that sanitizers see it whole. */
START_TEST(decoding_without_a_child)
{
    static const g4_video_sampling fast = { 100, 0 }, two = { 0, 2 };
    uint8_t *data;
    size_t size;
    g4_libav_summary sum;
    seen s = { .stop_at = -1 };
    g4_err err;
    g4_libav *av;
    ck_assert_int_eq(g4_libav_open(&av, "x", &err), G4_OK);
    ck_assert_int_eq(g4_file_read(DATA "three.mp4", 1 << 20, &data, &size, &err), G4_OK);
    ck_assert_msg(g4_libav_decode(av, "x", data, size, &fast, look, &s, &sum, &err) == G4_OK,
                  "%s", err.msg);
    ck_assert_int_eq(s.count, 60);
    ck_assert_int_eq(sum.frames, 60);
    ck_assert_int_eq(sum.more, 1);
    s.count = 0;
    ck_assert_msg(g4_libav_decode(av, "x", data, size, &two, look, &s, &sum, &err) == G4_OK, "%s",
                  err.msg);
    ck_assert_int_eq(s.count, 2);
    ck_assert_int_eq(sum.total, 15);
    size /= 2;
    ck_assert_int_eq(g4_libav_decode(av, "x", data, size, &two, look, &s, &sum, &err), G4_EINPUT);
    ck_assert_int_eq(g4_libav_decode(av, "x", data, size, &fast, look, &s, &sum, &err), G4_EINPUT);
    free(data);
    g4_libav_close(av);
}
END_TEST

Suite *check_video(void)
{
    Suite *s = suite_create("video");
    TCase *t = tcase_create("files");
    suite_add_tcase(s, t);
    if (!built_in()) {
        tcase_add_test(t, not_built_in);
        return s;
    }
    tcase_add_loop_test(t, the_frame_that_covers_the_second, 0, 4);
    tcase_add_loop_test(t, sampling_is_one_a_second, 0, 10);
    tcase_add_loop_test(t, sampling_as_asked, 0, 9);
    tcase_add_test(t, not_a_video);
    tcase_add_test(t, truncated_anywhere);
    tcase_add_test(t, damaged_anywhere);
    tcase_add_test(t, a_sink_may_stop_it);
    tcase_add_loop_test(t, allocations_fail, 0, 2);
    tcase_add_test(t, decoding_without_a_child);
    return s;
}
