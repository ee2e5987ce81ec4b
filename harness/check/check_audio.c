/* SPDX-License-Identifier: Apache-2.0
 * Sound files into samples.  The WAV files are written here, byte by byte, with
 * values whose floats are known; the bound is equality where nothing lossy (a
 * resampler, MP3, Ogg) stands between. */
#include "harness/check/fault.h"
#include "ref/base/map.h"
#include "ref/input/audio.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *check_audio(void);

#define DATA "harness/check/data/media/"

enum { CAP = 1 << 17, FOREVER = 1 << 30 };

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
    static const int bits[] = { 16, 24, 32 };   /* 8: see below */
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

/* Eight bits are unsigned in a WAV, 128 is silence. */
START_TEST(bytes_around_the_middle)
{
    static const float want[] = { 0, -1, 0.5f, 127.0f / 128 };
    file f;
    wav_header(&f, 1, 1, 16000, 8, 4);
    put(&f, 0xffc00080, 4);
    expect_samples(&f, want, 4);
}
END_TEST

START_TEST(doubles_are_rounded)
{
    static const double in[] = { 0.1, -2.5, 1e-30, 1.0 / 3 };
    float want[4];
    file f;
    wav_header(&f, 3, 1, 16000, 64, 32);
    for (int i = 0; i < 4; i++) {
        uint64_t u;
        memcpy(&u, &in[i], 8);
        put(&f, u, 8);
        want[i] = (float)in[i];
    }
    expect_samples(&f, want, 4);
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

/* Telephone bytes: the sign bit set is positive, all bits inverted; mu-law's
 * smallest step is 8 / 32768 behind a bias, A-law's 8. */
START_TEST(telephone_laws)
{
    static const float mu[] = { 0, 8.0f / 32768, -32124.0f / 32768 };
    static const float a[] = { 8.0f / 32768, -8.0f / 32768, 32256.0f / 32768 };
    file f;
    wav_header(&f, 7, 1, 16000, 8, 3);
    put(&f, 0x00feff, 3);
    put(&f, 0, 1);
    expect_samples(&f, mu, 3);
    wav_header(&f, 6, 1, 16000, 8, 3);
    put(&f, 0xd5, 1);
    put(&f, 0x55, 1);
    put(&f, 0xaa, 1);
    put(&f, 0, 1);
    expect_samples(&f, a, 3);
}
END_TEST

/* A program that writes to a pipe never learns the lengths: both say so, and an
 * odd end is dropped.  One alone is a lie. */
START_TEST(streams_have_no_length)
{
    static const struct {
        uint32_t riff, data;
        int good;
    } rows[] = { { 0xffffffff, 0xffffffff, 1 }, { 0x7ffff024, 0x7ffff000, 1 },
                 { 36 + 5, 0xffffffff, 0 },     { 36 + 5, 0x7ffff000, 0 },
                 { 0xffffffff, 0xfffffffe, 0 }, { 0x7ffff000, 0x7ffff000, 0 } };
    static const float want[] = { 0.5f, -0.5f };
    g4_clip c;
    g4_err err;
    file f;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        wav_header(&f, 1, 1, 16000, 16, rows[i].data);
        put(&f, 0xc0004000u, 4);
        put(&f, 1, 1);
        for (int k = 0; k < 4; k++) f.at[4 + k] = (uint8_t)(rows[i].riff >> (8 * k));
        g4_status s = decode(&c, &f, FOREVER, &err);
        ck_assert_msg((s == G4_OK) == rows[i].good, "%zu: %s", i, err.msg);
        if (s != G4_OK) continue;
        ck_assert_int_eq(c.count, 2);
        ck_assert_mem_eq(c.samples, want, sizeof want);
        ck_assert_ptr_nonnull(strstr(c.note, "of no stated length"));
        g4_clip_free(&c);
    }
}
END_TEST

/* RF64: the lengths stand in a ds64 chunk, and are checked as WAV's own are. */
START_TEST(long_wav)
{
    static const float want[] = { 0.5f, -0.5f };
    file f = { .size = 0 };
    tag(&f, "RF64");
    put(&f, 0xffffffff, 4);
    tag(&f, "WAVE");
    tag(&f, "ds64");
    put(&f, 28, 4);
    put(&f, 76, 8);
    put(&f, 4, 8);
    put(&f, 2, 8);
    put(&f, 0, 4);
    tag(&f, "fmt ");
    put(&f, 16, 4);
    put(&f, 1 | 1 << 16, 4);
    put(&f, 16000, 4);
    put(&f, 32000, 4);
    put(&f, 2 | 16 << 16, 4);
    tag(&f, "data");
    put(&f, 0xffffffff, 4);
    put(&f, 0xc0004000u, 4);
    expect_samples(&f, want, 2);
    f.at[28] = 6;
    expect_bad(&f, "data says 6 bytes, the file has 4 left");
}
END_TEST

/* A tag behind the last frame is no damage; half a file is. */
START_TEST(flac_with_a_tag_behind_it)
{
    uint8_t *data;
    size_t size;
    g4_clip c;
    g4_err err;
    file f = { .size = 0 };
    ck_assert_int_eq(g4_file_read(DATA "stereo.flac", CAP, &data, &size, &err), G4_OK);
    memcpy(f.at, data, size);
    f.size = size;
    tag(&f, "TAGx");
    put(&f, 0, 8);
    ck_assert_msg(decode(&c, &f, FOREVER, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(c.count, 1000);
    g4_clip_free(&c);
    free(data);
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

/* ------------------------------------------------------------- other rates */

enum { TONE = 400 };   /* Hz: far below half of the lowest rate here */

/* `seconds` of a tone of amplitude 0.5 at any rate. */
static void put_tone(file *f, uint32_t rate, double seconds)
{
    uint32_t n = (uint32_t)(rate * seconds);
    wav_header(f, 3, 1, rate, 32, 4 * n);
    for (uint32_t i = 0; i < n; i++) put_float(f, (float)(0.5 * sin(2 * M_PI * TONE * i / rate)));
}

/* A tone comes out as the same tone, away from the ends, where the filter sees
 * silence.  The recipe promises 20 bits: an error of half a unit of the 20th
 * bit of a full scale of 2, which is 2^-20. */
START_TEST(a_tone_stays_a_tone)
{
    static const uint32_t rates[] = { 8000, 11025, 22050, 24000, 44100, 48000, 96000, 15999, 16001,
                                      192000, 768000 };
    const double bound = ldexp(1, -20);
    static file tone;
    file *f = &tone;
    uint32_t rate = rates[_i];
    double seconds = rate > 100000 ? 0.035 : 0.3;
    g4_clip c;
    g4_err err;
    put_tone(f, rate, seconds);
    ck_assert_msg(decode(&c, f, FOREVER, &err) == G4_OK, "%s", err.msg);
    int64_t frames = (int64_t)(rate * seconds), margin = rate > 100000 ? 200 : 1000;
    ck_assert_int_eq(c.count, (int64_t)floor(frames * 16000.0 / rate + 0.5));
    ck_assert_int_eq(c.total, c.count);
    ck_assert_ptr_nonnull(strstr(c.note, "resampled by libsoxr"));
    for (int64_t i = margin; i < c.count - margin; i++) {
        double d = c.samples[i] - 0.5 * sin(2 * M_PI * TONE * (double)i / 16000);
        ck_assert_msg(!(fabs(d) > bound), "%u Hz: sample %lld is off by %g", rate, (long long)i, d);
    }
    g4_clip_free(&c);
}
END_TEST

/* A limit gives the first samples of the whole, bit for bit. */
START_TEST(a_limit_cuts_the_resampled)
{
    static const int64_t limits[] = { 1, 2, 777, 4095, 4096, 4799 };
    file f;
    g4_clip whole, cut;
    put_tone(&f, 44100, 0.3);
    ck_assert_int_eq(decode(&whole, &f, FOREVER, NULL), G4_OK);
    ck_assert_int_eq(whole.count, 4800);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(decode(&cut, &f, limits[i], NULL), G4_OK);
        ck_assert_int_eq(cut.count, limits[i]);
        ck_assert_int_eq(cut.total, 4800);
        ck_assert_mem_eq(cut.samples, whole.samples, (size_t)cut.count * sizeof *cut.samples);
        g4_clip_free(&cut);
    }
    g4_clip_free(&whole);
}
END_TEST

/* One sample a second: a block must not become thousands. */
START_TEST(the_lowest_rate)
{
    file f;
    g4_clip c;
    wav_header(&f, 1, 1, 1, 16, 2 * 10000);
    for (int i = 0; i < 10000; i++) put(&f, 8192, 2);
    ck_assert_int_eq(decode(&c, &f, 480000, NULL), G4_OK);
    ck_assert_int_eq(c.count, 480000);
    ck_assert_int_eq(c.total, 160000000);
    g4_clip_free(&c);
}
END_TEST

/* ---------------------------------------------------------- other containers */

/* sound.* is one second of a 400 Hz tone, half of full scale, in two channels
 * at 44100 Hz (Opus: 48000).  Lossy coders at these rates keep a tone: what
 * is left behind it, in power, is under 1 % (20 dB; they reach 30 and more),
 * and it is in place, or the difference would be as large as the tone. */
START_TEST(lossy_containers_hold_the_tone)
{
    static const char *const names[] = { "sound.mp3", "sound.ogg", "sound.opus", "sound8.flac" };
    char path[80];
    g4_clip c;
    g4_err err;
    double noise = 0, power = 0;
    snprintf(path, sizeof path, DATA "%s", names[_i]);
    ck_assert_msg(g4_audio_read(&c, path, 16000, FOREVER, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(c.incomplete, 0);
    ck_assert_int_eq(c.count, 16000);
    ck_assert_int_eq(c.total, 16000);
    for (int i = 1600; i < 14400; i++) {
        double want = 0.5 * sin(2 * M_PI * TONE * i / 16000.0);
        noise += (c.samples[i] - want) * (c.samples[i] - want);
        power += want * want;
    }
    ck_assert_msg(!(noise > 0.01 * power), "%s: noise %g, tone %g", path, noise, power);
    g4_clip_free(&c);
    ck_assert_int_eq(g4_audio_read(&c, path, 16000, 5000, &err), G4_OK);
    ck_assert_int_eq(c.count, 5000);
    ck_assert_int_gt(c.total, 15000);   /* an MP3's length is an estimate */
    g4_clip_free(&c);
}
END_TEST

/* Half a file is said to be half a file, or refused; never taken for a whole. */
START_TEST(half_a_lossy_file)
{
    static const char *const names[] = { "sound.mp3", "sound.ogg", "sound.opus" };
    char path[80];
    uint8_t *data;
    size_t size;
    g4_clip c;
    g4_err err;
    char part[] = "/tmp/g4_check_XXXXXX";
    int fd = mkstemp(part);
    ck_assert_int_ge(fd, 0);
    snprintf(path, sizeof path, DATA "%s", names[_i]);
    ck_assert_int_eq(g4_file_read(path, CAP, &data, &size, &err), G4_OK);
    for (size_t cut = 0, was = 0; cut < size; was = cut, cut += 211) {
        ck_assert_int_eq(write(fd, data + was, cut - was), cut - was);
        if (g4_audio_read(&c, part, 16000, FOREVER, &err) != G4_OK) continue;
        ck_assert_msg(c.incomplete, "%s: %zu of %zu bytes", path, cut, size);
        g4_clip_free(&c);
    }
    close(fd);
    unlink(part);
    free(data);
}
END_TEST

START_TEST(headers_that_lie)
{
    static const struct {
        int format;
        uint32_t channels, rate, bits, bytes;
        const char *what;
    } rows[] = {
        { 1, 1, 768001, 16, 8, "rate of 768001 Hz" },
        { 1, 65, 16000, 16, 8, "65 channels" },
        { 1, 1, 16000, 16, 1000000, "data says 1000000 bytes" },
        { 1, 1, 16000, 16, 0xffffffffu, "data says 4294967295 bytes" },
        { 1, 1, 16000, 16, 0, "no samples" },
        { 1, 0, 16000, 16, 8, "0 channels" },
        { 1, 65535, 16000, 16, 8, "65535 channels" },
        { 1, 1, 0, 16, 8, "rate of 0 Hz" },
        { 1, 1, 4000000000u, 16, 8, "4000000000 Hz" },
        { 1, 1, 16000, 16, 7, "frames of 2 bytes" },
        { 1, 1, 16000, 0, 8, "frames of 0 bytes" },
        { 2, 1, 16000, 4, 8, "" },       /* ADPCM */
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
    tag(&f, "OggX");
    put(&f, 0, 8);
    expect_bad(&f, "neither a WAV, FLAC, MP3 nor Ogg file");
    f.size = 0;
    put(&f, 0xf9ff, 2);   /* AAC's stream: a frame of MPEG, layer 0 */
    expect_bad(&f, "neither a WAV, FLAC, MP3 nor Ogg file");
    f.size = 0;
    tag(&f, "OggS");
    memset(f.at + 4, 0, 24);
    f.at[26] = 1;
    f.size = 28;
    put(&f, 0x7f, 1);
    tag(&f, "FLAC");
    expect_bad(&f, "FLAC in an Ogg file is not read");
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
    tcase_add_test(t, bytes_around_the_middle);
    tcase_add_test(t, doubles_are_rounded);
    tcase_add_test(t, floats_as_they_are);
    tcase_add_test(t, channels_are_averaged);
    tcase_add_test(t, other_chunks_are_skipped);
    tcase_add_test(t, telephone_laws);
    tcase_add_test(t, streams_have_no_length);
    tcase_add_test(t, long_wav);
    tcase_add_test(t, flac_with_a_tag_behind_it);
    tcase_add_test(t, flac_is_the_pcm_in_it);
    tcase_add_test(t, limit_cuts_and_says_so);
    suite_add_tcase(s, t);
    t = tcase_create("rates");
    tcase_add_loop_test(t, a_tone_stays_a_tone, 0, 11);
    tcase_add_test(t, a_limit_cuts_the_resampled);
    tcase_add_test(t, the_lowest_rate);
    suite_add_tcase(s, t);
    t = tcase_create("containers");
    tcase_add_loop_test(t, lossy_containers_hold_the_tone, 0, 4);
    tcase_add_loop_test(t, half_a_lossy_file, 0, 3);
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
