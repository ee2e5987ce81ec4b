/* SPDX-License-Identifier: Apache-2.0
 * WAV and FLAC into samples.  The WAV files are written here, byte by byte, with
 * values whose floats are known; the bound is equality. */
#include "harness/check/fault.h"
#include "ref/base/map.h"
#include "ref/input/audio.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_audio(void);

#define DATA "harness/check/data/media/"

enum { CAP = 1 << 16, FOREVER = 1 << 30 };

typedef struct file {
    uint8_t at[CAP];
    size_t size;
} file;

static void put(file *f, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) f->at[f->size++] = (uint8_t)(v >> (8 * i));
}

static void tag(file *f, const char *four)
{
    memcpy(f->at + f->size, four, 4);
    f->size += 4;
}

/* A header whose data chunk claims `bytes`; format 1 PCM, 3 float. */
static void wav_header(file *f, int format, uint32_t channels, uint32_t rate, uint32_t bits,
                       uint32_t bytes)
{
    uint32_t frame = channels * bits / 8;
    f->size = 0;
    tag(f, "RIFF");
    put(f, 36 + bytes, 4);
    tag(f, "WAVE");
    tag(f, "fmt ");
    put(f, 16, 4);
    put(f, (uint64_t)format, 2);
    put(f, channels, 2);
    put(f, rate, 4);
    put(f, (uint64_t)rate * frame, 4);
    put(f, frame, 2);
    put(f, bits, 2);
    tag(f, "data");
    put(f, bytes, 4);
}

static void put_float(file *f, float v)
{
    uint32_t u;
    memcpy(&u, &v, 4);
    put(f, u, 4);
}

static g4_status decode(g4_clip *c, const file *f, int64_t limit, g4_err *err)
{
    return g4_audio_decode(c, "clip.wav", f->at, f->size, 16000, limit, err);
}

static void expect_samples(const file *f, const float *want, int64_t n)
{
    g4_clip c;
    g4_err err;
    ck_assert_msg(decode(&c, f, FOREVER, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(c.count, n);
    ck_assert_int_eq(c.total, n);
    ck_assert_mem_eq(c.samples, want, (size_t)n * sizeof *want);
    g4_clip_free(&c);
}

START_TEST(integers_by_full_scale)
{
    static const int bits[] = { 16, 24, 32 };
    file f;
    for (int b = 0; b < 3; b++) {
        int n = bits[b];
        int64_t top = (int64_t)1 << (n - 1);
        wav_header(&f, 1, 1, 16000, (uint32_t)n, 4 * (uint32_t)n / 8);
        put(&f, 0, n / 8);
        put(&f, (uint64_t)-top, n / 8);
        put(&f, (uint64_t)(top / 2), n / 8);
        put(&f, 1, n / 8);
        /* 1 / 2^(bits-1) is a power of two, exact in float32 for all three. */
        float want[] = { 0, -1, 0.5f, (float)ldexp(1, 1 - n) };
        expect_samples(&f, want, 4);
    }
}
END_TEST

START_TEST(floats_as_they_are)
{
    static const float want[] = { 0.1f, -2.5f, 1e-30f };
    file f;
    wav_header(&f, 3, 1, 16000, 32, 12);
    for (int i = 0; i < 3; i++) put_float(&f, want[i]);
    expect_samples(&f, want, 3);
}
END_TEST

START_TEST(channels_are_averaged)
{
    static const float mono[] = { 0.5f, -0.25f };
    file f;
    wav_header(&f, 3, 2, 16000, 32, 16);
    put_float(&f, 1.0f);
    put_float(&f, 0.0f);
    put_float(&f, -1.0f);
    put_float(&f, 0.5f);
    expect_samples(&f, mono, 2);
}
END_TEST

START_TEST(other_chunks_are_skipped)
{
    static const float want[] = { 0.5f };
    file f, g;
    wav_header(&f, 1, 1, 16000, 16, 2);
    put(&f, 16384, 2);
    memcpy(g.at, f.at, 36);   /* RIFF and fmt */
    g.size = 36;
    tag(&g, "LIST");
    put(&g, 3, 4);
    put(&g, 0x00636261, 4);   /* "abc" and the pad byte */
    memcpy(g.at + g.size, f.at + 36, f.size - 36);
    g.size += f.size - 36;
    expect_samples(&g, want, 1);
}
END_TEST

START_TEST(flac_is_the_pcm_in_it)
{
    g4_clip c;
    g4_err err;
    ck_assert_msg(g4_audio_read(&c, DATA "stereo.flac", 16000, FOREVER, &err) == G4_OK, "%s",
                  err.msg);
    ck_assert_int_eq(c.count, 1000);
    for (int k = 0; k < 1000; k++) {   /* left 30 k - 15000, right 1000 (k mod 7) */
        float left = (float)(k * 30 - 15000) / 32768, right = (float)(k % 7 * 1000) / 32768;
        ck_assert(c.samples[k] == (left + right) / 2);
    }
    g4_clip_free(&c);
}
END_TEST

START_TEST(limit_cuts_and_says_so)
{
    file f;
    g4_clip c;
    wav_header(&f, 1, 1, 16000, 16, 20000);
    for (int i = 0; i < 10000; i++) put(&f, (uint64_t)i, 2);
    static const int64_t limits[] = { 1, 4095, 4096, 4097, 9999 };
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(decode(&c, &f, limits[i], NULL), G4_OK);
        ck_assert_int_eq(c.count, limits[i]);
        ck_assert_int_eq(c.total, 10000);
        ck_assert(c.samples[c.count - 1] == (float)(c.count - 1) / 32768);
        g4_clip_free(&c);
    }
    ck_assert_int_eq(decode(&c, &f, 10000, NULL), G4_OK);
    ck_assert_int_eq(c.total, c.count);
    g4_clip_free(&c);
}
END_TEST

static void expect_bad(const file *f, const char *what)
{
    g4_clip c;
    g4_err err;
    ck_assert_msg(decode(&c, f, FOREVER, &err) == G4_EINPUT, "accepted, but %s", what);
    ck_assert_ptr_null(c.samples);
    ck_assert_msg(strncmp(err.msg, "clip.wav: ", 10) == 0, "%s", err.msg);
    ck_assert_msg(strstr(err.msg, what) != NULL, "'%s' lacks '%s'", err.msg, what);
    ck_assert_ptr_null(strchr(err.msg, '\n'));
}

START_TEST(headers_that_lie)
{
    static const struct {
        int format;
        uint32_t channels, rate, bits, bytes;
        const char *what;
    } rows[] = {
        { 1, 1, 16000, 16, 1000000, "data says 1000000 bytes" },
        { 1, 1, 16000, 16, 0xffffffffu, "data says 4294967295 bytes" },
        { 1, 1, 16000, 16, 0, "no samples" },
        { 1, 0, 16000, 16, 8, "0 channels" },
        { 1, 65535, 16000, 16, 8, "65535 channels" },
        { 1, 1, 0, 16, 8, "rate of 0 Hz" },
        { 1, 1, 4000000000u, 16, 8, "4000000000 Hz" },
        { 1, 1, 44100, 16, 8, "44100 Hz, expected 16000 (resampling is not built in)" },
        { 1, 1, 16000, 16, 7, "frames of 2 bytes" },
        { 1, 1, 16000, 8, 8, "8 bit" },
        { 1, 1, 16000, 0, 8, "frames of 0 bytes" },
        { 7, 1, 16000, 8, 8, "U-Law" },
        { 0x55, 1, 16000, 16, 8, "" },
    };
    file f;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        wav_header(&f, rows[i].format, rows[i].channels, rows[i].rate, rows[i].bits,
                   rows[i].bytes);
        put(&f, 0, 8);
        expect_bad(&f, rows[i].what);
    }
}
END_TEST

START_TEST(samples_that_are_no_numbers)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    file f;
    for (int i = 0; i < 3; i++) {
        wav_header(&f, 3, 1, 16000, 32, 12);
        put_float(&f, 0.5f);
        put_float(&f, bad[i]);
        put_float(&f, 0.5f);
        expect_bad(&f, "sample 1 is not a finite number");
    }
}
END_TEST

START_TEST(truncated_anywhere)
{
    file f;
    g4_err err;
    g4_clip c;
    wav_header(&f, 1, 1, 16000, 16, 400);
    for (int i = 0; i < 200; i++) put(&f, (uint64_t)(i * 100), 2);
    size_t whole = f.size;
    for (f.size = 0; f.size < whole; f.size++) expect_bad(&f, "");
    uint8_t *data;
    size_t size;
    ck_assert_int_eq(g4_file_read(DATA "stereo.flac", CAP, &data, &size, &err), G4_OK);
    for (size_t cut = 0; cut < size; cut++) {
        ck_assert_int_eq(g4_audio_decode(&c, "x", data, cut, 16000, FOREVER, &err), G4_EINPUT);
        ck_assert_ptr_null(c.samples);
    }
    free(data);
}
END_TEST

START_TEST(not_audio)
{
    file f = { .size = 0 };
    g4_clip c;
    g4_err err;
    expect_bad(&f, "empty");
    tag(&f, "OggS");
    put(&f, 0, 8);
    expect_bad(&f, "neither a WAV nor a FLAC");
    ck_assert_int_eq(g4_audio_read(&c, DATA, 16000, 1, &err), G4_EINPUT);
    ck_assert_int_eq(g4_audio_read(&c, "/dev/zero", 16000, 1, &err), G4_EINPUT);
    ck_assert_int_eq(g4_audio_read(&c, DATA "none.wav", 16000, 1, &err), G4_EIO);
}
END_TEST

START_TEST(allocations_fail)
{
    for (long n = 1;; n++) {
        g4_clip c;
        fault_alloc_arm(n, 0);
        g4_status s = g4_audio_read(&c, DATA "stereo.flac", 16000, FOREVER, NULL);
        g4_clip_free(&c);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            ck_assert_int_gt(n, 2);
            break;
        }
        ck_assert_int_eq(s, G4_ENOMEM);
    }
}
END_TEST

Suite *check_audio(void)
{
    Suite *s = suite_create("audio");
    TCase *t = tcase_create("values");
    tcase_add_test(t, integers_by_full_scale);
    tcase_add_test(t, floats_as_they_are);
    tcase_add_test(t, channels_are_averaged);
    tcase_add_test(t, other_chunks_are_skipped);
    tcase_add_test(t, flac_is_the_pcm_in_it);
    tcase_add_test(t, limit_cuts_and_says_so);
    suite_add_tcase(s, t);
    t = tcase_create("bad");
    tcase_add_test(t, headers_that_lie);
    tcase_add_test(t, samples_that_are_no_numbers);
    tcase_add_test(t, truncated_anywhere);
    tcase_add_test(t, not_audio);
    tcase_add_test(t, allocations_fail);
    suite_add_tcase(s, t);
    return s;
}
