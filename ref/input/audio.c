/* SPDX-License-Identifier: Apache-2.0
 * libsndfile decodes; what a WAV header claims is checked here first, because
 * the library silently clamps sizes that are too large for the file. */
#include "ref/input/audio.h"

#include "ref/base/bytes.h"
#include "ref/base/map.h"

#include <math.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, MAX_CHANNELS = 64, MAX_RATE = 1 << 20 };

/* ---------------------------------------------------------- the WAV header */

/* "fmt ": tag u16, channels u16, rate u32, bytes/s u32, frame bytes u16, bits u16 */
typedef struct wav {
    uint64_t channels, rate, frame_bytes;
    uint64_t data_bytes;
    int has_fmt, has_data;
} wav;

static void read_fmt(wav *w, g4_bytes *b)
{
    g4_bytes_uint(b, 2);
    w->channels = g4_bytes_uint(b, 2);
    w->rate = g4_bytes_uint(b, 4);
    g4_bytes_uint(b, 4);
    w->frame_bytes = g4_bytes_uint(b, 2);
    w->has_fmt = !b->bad;
}

/* Walks the chunks (id, size u32, body, pad to even) up to "data". */
static g4_status read_chunks(wav *w, const char *name, const uint8_t *data, size_t size,
                             g4_err *err)
{
    g4_bytes b = { .data = data, .size = size, .at = 12 };
    memset(w, 0, sizeof *w);
    while (!w->has_data) {
        const uint8_t *id = g4_bytes_take(&b, 4);
        uint64_t length = g4_bytes_uint(&b, 4);
        if (b.bad)
            return g4_fail(err, G4_EINPUT, "%s: damaged WAV: no %s chunk", name,
                           w->has_fmt ? "data" : "fmt");
        if (length > b.size - b.at)
            return g4_fail(err, G4_EINPUT,
                           "%s: damaged WAV: chunk %.4s says %llu bytes, the file has %zu left",
                           name, (const char *)id, (unsigned long long)length, b.size - b.at);
        if (memcmp(id, "fmt ", 4) == 0) {
            g4_bytes body = { .data = b.data + b.at, .size = (size_t)length };
            read_fmt(w, &body);
        }
        if (memcmp(id, "data", 4) == 0) {
            w->data_bytes = length;
            w->has_data = 1;
        }
        if (length & 1 && length < b.size - b.at) length++;
        g4_bytes_take(&b, (size_t)length);
    }
    if (!w->has_fmt)
        return g4_fail(err, G4_EINPUT, "%s: damaged WAV: no fmt chunk before data", name);
    return G4_OK;
}

static g4_status check_shape(const char *name, uint64_t channels, uint64_t rate, int64_t want,
                             g4_err *err)
{
    if (channels < 1 || channels > MAX_CHANNELS)
        return g4_fail(err, G4_EINPUT, "%s: %llu channels, expected 1 to %d", name,
                       (unsigned long long)channels, (int)MAX_CHANNELS);
    if (rate < 1 || rate > MAX_RATE)
        return g4_fail(err, G4_EINPUT, "%s: a sampling rate of %llu Hz, expected %lld", name,
                       (unsigned long long)rate, (long long)want);
    if ((int64_t)rate != want)
        return g4_fail(err, G4_EINPUT,
                       "%s: sampled at %llu Hz, expected %lld (resampling is not built in)", name,
                       (unsigned long long)rate, (long long)want);
    return G4_OK;
}

/* *frames: what the header promises, by bytes that are there. */
static g4_status check_wav(const char *name, const uint8_t *data, size_t size, int64_t want,
                           int64_t *frames, g4_err *err)
{
    wav w;
    G4_TRY(read_chunks(&w, name, data, size, err));
    G4_TRY(check_shape(name, w.channels, w.rate, want, err));
    if (w.frame_bytes == 0 || w.frame_bytes % w.channels || w.data_bytes % w.frame_bytes)
        return g4_fail(err, G4_EINPUT,
                       "%s: damaged WAV: %llu bytes of data in frames of %llu bytes for %llu"
                       " channels", name, (unsigned long long)w.data_bytes,
                       (unsigned long long)w.frame_bytes, (unsigned long long)w.channels);
    *frames = (int64_t)(w.data_bytes / w.frame_bytes);
    return G4_OK;
}

/* ------------------------------------------ a file in memory, for libsndfile */

typedef struct memory {
    const uint8_t *data;
    sf_count_t size, at;
} memory;

static sf_count_t memory_size(void *user)
{
    return ((memory *)user)->size;
}

static sf_count_t memory_seek(sf_count_t offset, int whence, void *user)
{
    memory *m = user;
    sf_count_t base = whence == SEEK_CUR ? m->at : whence == SEEK_END ? m->size : 0, to;
    if (__builtin_add_overflow(base, offset, &to) || to < 0 || to > m->size) return -1;
    m->at = to;
    return to;
}

static sf_count_t memory_read(void *out, sf_count_t count, void *user)
{
    memory *m = user;
    if (count > m->size - m->at) count = m->size - m->at;
    if (count <= 0) return 0;
    memcpy(out, m->data + m->at, (size_t)count);
    m->at += count;
    return count;
}

static sf_count_t memory_write(const void *in, sf_count_t count, void *user)
{
    (void)in;
    (void)count;
    (void)user;
    return 0;
}

static sf_count_t memory_tell(void *user)
{
    return ((memory *)user)->at;
}

/* ------------------------------------------------------------- the samples */

static g4_status check_format(const char *name, int format, g4_err *err)
{
    int kind = format & SF_FORMAT_TYPEMASK, sub = format & SF_FORMAT_SUBMASK;
    int is_wav = kind == SF_FORMAT_WAV || kind == SF_FORMAT_WAVEX;
    int known = sub == SF_FORMAT_PCM_16 || sub == SF_FORMAT_PCM_24 ||
                (is_wav && (sub == SF_FORMAT_PCM_32 || sub == SF_FORMAT_FLOAT));
    if (known && (is_wav || kind == SF_FORMAT_FLAC)) return G4_OK;
    SF_FORMAT_INFO info = { .format = sub };
    int named = sf_command(NULL, SFC_GET_FORMAT_INFO, &info, sizeof info) == 0 && info.name;
    return g4_fail(err, G4_EINPUT,
                   "%s: samples coded as %s, supported are PCM of 16, 24, 32 bits and 32-bit float",
                   name, named ? info.name : "an unknown format");
}

static g4_status grow(g4_clip *c, int64_t *capacity, int64_t need, const char *name, g4_err *err)
{
    int64_t bytes, more = *capacity ? *capacity : 16 * BLOCK;
    while (more < need)
        if (__builtin_mul_overflow(more, (int64_t)2, &more)) return g4_nomem(err, name);
    if (more == *capacity) return G4_OK;
    if (__builtin_mul_overflow(more, (int64_t)sizeof *c->samples, &bytes))
        return g4_nomem(err, name);
    float *p = realloc(c->samples, (size_t)bytes);
    if (!p) return g4_nomem(err, name);
    c->samples = p;
    *capacity = more;
    return G4_OK;
}

/* Averages the channels of n frames onto the end of the clip; the order of the
 * sum and the one division are numpy's mean over the channel axis. */
static g4_status append(g4_clip *c, const float *block, int64_t n, int channels, const char *name,
                        g4_err *err)
{
    for (int64_t i = 0; i < n; i++) {
        float sum = block[i * channels];
        for (int ch = 1; ch < channels; ch++) sum += block[i * channels + ch];
        float mono = channels > 1 ? sum / (float)channels : sum;
        if (!isfinite(mono))
            return g4_fail(err, G4_EINPUT, "%s: sample %lld is not a finite number", name,
                           (long long)c->count);
        c->samples[c->count++] = mono;
    }
    return G4_OK;
}

/* Reads in fixed blocks: a header's count sizes no buffer. */
static g4_status read_samples(g4_clip *c, SNDFILE *sf, const SF_INFO *info, int64_t max_samples,
                              const char *name, float *block, g4_err *err)
{
    int64_t capacity = 0;
    while (c->count < max_samples) {
        int64_t want = max_samples - c->count < BLOCK ? max_samples - c->count : BLOCK;
        sf_count_t got = sf_readf_float(sf, block, want);
        if (got < 0 || sf_error(sf) != SF_ERR_NO_ERROR)
            return g4_fail(err, G4_EINPUT, "%s: damaged audio after sample %lld: %s", name,
                           (long long)c->count, sf_strerror(sf));
        if (got == 0) break;
        G4_TRY(grow(c, &capacity, c->count + got, name, err));
        G4_TRY(append(c, block, got, info->channels, name, err));
    }
    if (c->count < max_samples && c->count != info->frames)
        return g4_fail(err, G4_EINPUT, "%s: truncated: %lld samples of %lld", name,
                       (long long)c->count, (long long)info->frames);
    if (c->count == 0) return g4_fail(err, G4_EINPUT, "%s: no samples in it", name);
    c->total = info->frames > c->count ? info->frames : c->count;
    return G4_OK;
}

static g4_status read_open(g4_clip *c, SNDFILE *sf, const SF_INFO *info, int64_t frames,
                           int64_t rate, int64_t max_samples, const char *name, g4_err *err)
{
    G4_TRY(check_format(name, info->format, err));
    G4_TRY(check_shape(name, info->channels < 0 ? 0 : (uint64_t)info->channels,
                       info->samplerate < 0 ? 0 : (uint64_t)info->samplerate, rate, err));
    if (frames >= 0 && info->frames != frames)
        return g4_fail(err, G4_EINPUT, "%s: damaged WAV: %lld samples decoded, %lld announced",
                       name, (long long)info->frames, (long long)frames);
    float *block = malloc((size_t)BLOCK * (size_t)info->channels * sizeof *block);
    if (!block) return g4_nomem(err, name);
    g4_status s = read_samples(c, sf, info, max_samples, name, block, err);
    free(block);
    return s;
}

g4_status g4_audio_decode(g4_clip *c, const char *name, const uint8_t *data, size_t size,
                          int64_t rate, int64_t max_samples, g4_err *err)
{
    int64_t frames = -1;
    memset(c, 0, sizeof *c);
    int is_wav = size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WAVE", 4) == 0;
    int is_flac = size >= 4 && memcmp(data, "fLaC", 4) == 0;
    if (!is_wav && !is_flac)
        return g4_fail(err, G4_EINPUT, "%s: %s", name,
                       size ? "neither a WAV nor a FLAC file" : "empty file");
    if (is_wav) G4_TRY(check_wav(name, data, size, rate, &frames, err));
    memory m = { .data = data, .size = (sf_count_t)size };
    SF_VIRTUAL_IO io = { memory_size, memory_seek, memory_read, memory_write, memory_tell };
    SF_INFO info = { 0 };
    SNDFILE *sf = sf_open_virtual(&io, SFM_READ, &info, &m);
    if (!sf) return g4_fail(err, G4_EINPUT, "%s: damaged audio: %s", name, sf_strerror(NULL));
    g4_status s = read_open(c, sf, &info, frames, rate, max_samples, name, err);
    sf_close(sf);
    if (s != G4_OK) g4_clip_free(c);
    return s;
}

g4_status g4_audio_read(g4_clip *c, const char *path, int64_t rate, int64_t max_samples,
                        g4_err *err)
{
    g4_map map;
    memset(c, 0, sizeof *c);
    G4_TRY(g4_map_open(&map, path, err));
    g4_status s = g4_audio_decode(c, path, map.data, map.size, rate, max_samples, err);
    g4_map_close(&map);
    return s;
}

void g4_clip_free(g4_clip *c)
{
    free(c->samples);
    memset(c, 0, sizeof *c);
}
