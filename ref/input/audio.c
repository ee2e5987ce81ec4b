/* SPDX-License-Identifier: Apache-2.0
 * libsndfile decodes (MP3 through libmpg123, Ogg through libvorbis, libopus).
 * The chain is: block of frames -> mono -> resampler, if the rates differ ->
 * clip; no buffer is sized by what a header says. */
#include "ref/input/audio.h"

#include "ref/base/child.h"
#include "ref/base/map.h"
#include "ref/input/audio_head.h"
#include "ref/input/resample.h"

#include <math.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };   /* frames read, and samples made, at once */

typedef struct reader {
    const char *name;            /* for messages */
    SNDFILE *sf;
    SF_INFO info;
    int64_t rate, max_samples;   /* of the clip */
    int64_t read;                /* frames so far */
    int streamed;                /* the header does not know how many */
    int64_t capacity;            /* of the clip's samples */
    float *block;                /* [BLOCK][channels] */
    float *made;                 /* [BLOCK], behind the resampler */
    g4_resampler *resampler;     /* NULL: the file has the clip's rate */
    g4_clip *clip;
} reader;

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

static int is_lossless(int format)
{
    int kind = format & SF_FORMAT_TYPEMASK;
    return kind == SF_FORMAT_WAV || kind == SF_FORMAT_WAVEX || kind == SF_FORMAT_RF64 ||
           kind == SF_FORMAT_FLAC;
}

static int format_known(int format)
{
    static const int pcm[] = { SF_FORMAT_PCM_U8, SF_FORMAT_PCM_S8, SF_FORMAT_PCM_16,
                               SF_FORMAT_PCM_24, SF_FORMAT_PCM_32, SF_FORMAT_FLOAT,
                               SF_FORMAT_DOUBLE, SF_FORMAT_ULAW, SF_FORMAT_ALAW };
    int kind = format & SF_FORMAT_TYPEMASK, sub = format & SF_FORMAT_SUBMASK;
    if (kind == SF_FORMAT_OGG) return sub == SF_FORMAT_VORBIS || sub == SF_FORMAT_OPUS;
    if (kind == SF_FORMAT_MPEG) return 1;
    for (size_t i = 0; is_lossless(format) && i < sizeof pcm / sizeof pcm[0]; i++)
        if (sub == pcm[i]) return 1;
    return 0;
}

static const char *format_name(int format)
{
    SF_FORMAT_INFO info = { .format = format };
    int named = sf_command(NULL, SFC_GET_FORMAT_INFO, &info, sizeof info) == 0 && info.name;
    return named ? info.name : "an unknown format";
}

static g4_status check_info(const reader *r, int64_t frames, g4_err *err)
{
    const SF_INFO *i = &r->info;
    if (!format_known(i->format))
        return g4_fail(err, G4_EINPUT, "%s: samples coded as %s; supported are WAV and FLAC with "
                       "PCM of 8 to 32 bits, float, A-law or mu-law, MP3, Ogg Vorbis and Opus",
                       r->name,
                       format_name(i->format & SF_FORMAT_SUBMASK));
    G4_TRY(g4_audio_check_shape(r->name, i->channels < 0 ? 0 : (uint64_t)i->channels,
                                i->samplerate < 0 ? 0 : (uint64_t)i->samplerate, err));
    if (frames >= 0 && i->frames != frames)
        return g4_fail(err, G4_EINPUT, "%s: damaged WAV: %lld samples decoded, %lld announced",
                       r->name, (long long)i->frames, (long long)frames);
    return G4_OK;
}

static g4_status grow(reader *r, int64_t need, g4_err *err)
{
    int64_t bytes, more = r->capacity ? r->capacity : 16 * BLOCK;
    while (more < need)
        if (__builtin_mul_overflow(more, (int64_t)2, &more)) return g4_nomem(err, r->name);
    if (more == r->capacity) return G4_OK;
    if (__builtin_mul_overflow(more, (int64_t)sizeof *r->clip->samples, &bytes))
        return g4_nomem(err, r->name);
    float *p = realloc(r->clip->samples, (size_t)bytes);
    if (!p) return g4_nomem(err, r->name);
    r->clip->samples = p;
    r->capacity = more;
    return G4_OK;
}

/* Up to the limit; more is dropped. */
static g4_status append(reader *r, const float *in, size_t n, g4_err *err)
{
    g4_clip *c = r->clip;
    if ((int64_t)n > r->max_samples - c->count) n = (size_t)(r->max_samples - c->count);
    G4_TRY(grow(r, c->count + (int64_t)n, err));
    memcpy(c->samples + c->count, in, n * sizeof *in);
    c->count += (int64_t)n;
    return G4_OK;
}

/* The channels' mean, in place: the order of the sum and the one division are
 * numpy's mean over the channel axis. */
static g4_status mix(reader *r, int64_t n, g4_err *err)
{
    int channels = r->info.channels;
    float *block = r->block;
    for (int64_t i = 0; i < n; i++) {
        float sum = block[i * channels];
        for (int ch = 1; ch < channels; ch++) sum += block[i * channels + ch];
        block[i] = channels > 1 ? sum / (float)channels : sum;
        if (!isfinite(block[i]))
            return g4_fail(err, G4_EINPUT, "%s: sample %lld is not a finite number", r->name,
                           (long long)(r->read + i));
    }
    r->read += n;
    return G4_OK;
}

/* n mono samples into the clip; n = 0 ends the input. */
static g4_status feed(reader *r, size_t n, g4_err *err)
{
    size_t at = 0, used, made = 1;
    if (!r->resampler) return append(r, r->block, n, err);
    while (r->clip->count < r->max_samples && (at < n || (n == 0 && made > 0))) {
        G4_TRY(g4_resampler_run(r->resampler, n ? r->block + at : NULL, n - at, &used, r->made,
                                BLOCK, &made, err));
        if (n > 0 && used == 0 && made == 0)
            return g4_fail(err, G4_EINPUT, "%s: cannot resample: it does not go on", r->name);
        at += used;
        for (size_t i = 0; i < made; i++)   /* huge floats overflow in the filter */
            if (!isfinite(r->made[i]))
                return g4_fail(err, G4_EINPUT, "%s: samples too large to resample", r->name);
        G4_TRY(append(r, r->made, made, err));
    }
    return G4_OK;
}

static g4_status read_samples(reader *r, g4_err *err)
{
    g4_clip *c = r->clip;
    int64_t most = BLOCK, got = 1;
    if (r->resampler) {   /* a block must not become many blocks behind the resampler */
        most = BLOCK * (int64_t)r->info.samplerate / r->rate;
        most = most < 1 ? 1 : most > BLOCK ? BLOCK : most;
    }
    while (c->count < r->max_samples && got > 0) {
        int64_t left = r->max_samples - c->count;
        got = sf_readf_float(r->sf, r->block, !r->resampler && left < most ? left : most);
        /* Foreign bytes behind the last frame of a FLAC file, such as a tag, are no damage. */
        int whole = got >= 0 && got == r->info.frames - r->read;
        if (got < 0 || (sf_error(r->sf) != SF_ERR_NO_ERROR && !whole))
            return g4_fail(err, G4_EINPUT, "%s: damaged audio after sample %lld: %s", r->name,
                           (long long)r->read, sf_strerror(r->sf));
        G4_TRY(mix(r, got, err));
        if (got > 0) G4_TRY(feed(r, (size_t)got, err));
    }
    int known = r->info.frames < SF_COUNT_MAX;   /* a FLAC file from a pipe has no count */
    if (got == 0 && known && is_lossless(r->info.format) && r->read != r->info.frames)
        return g4_fail(err, G4_EINPUT, "%s: truncated: %lld samples of %lld", r->name,
                       (long long)r->read, (long long)r->info.frames);
    if (r->read > 0 && r->resampler) G4_TRY(feed(r, 0, err));
    if (c->count == 0) return g4_fail(err, G4_EINPUT, "%s: no samples in it", r->name);
    c->total = c->count;
    if (c->count < r->max_samples) return G4_OK;
    int64_t frames = known && r->info.frames > r->read ? r->info.frames : r->read;
    int64_t total = g4_resampled_count(frames, r->info.samplerate, r->rate);
    if (!known && sf_readf_float(r->sf, r->block, 1) > 0) total = INT64_MAX;
    if (total > c->count) c->total = total;
    return G4_OK;
}

static void describe(const reader *r)
{
    const SF_INFO *i = &r->info;
    snprintf(r->clip->note, sizeof r->clip->note,
             "%.60s%s, %.40s, %d channel%s, %d Hz,"
             " %.30s%s%.30s%s",
             format_name(i->format & SF_FORMAT_TYPEMASK),
             r->streamed ? " of no stated length" : "",
             format_name(i->format & SF_FORMAT_SUBMASK), i->channels,
             i->channels == 1 ? "" : "s", i->samplerate, sf_version_string(),
             r->resampler ? ", resampled by " : "", r->resampler ? g4_resampler_name() : "",
             r->resampler ? " HQ" : "");
}

static g4_status read_open(reader *r, int64_t frames, g4_err *err)
{
    G4_TRY(check_info(r, frames, err));
    r->block = malloc((size_t)BLOCK * (size_t)r->info.channels * sizeof *r->block);
    r->made = malloc(BLOCK * sizeof *r->made);
    if (!r->block || !r->made) return g4_nomem(err, r->name);
    if (r->info.samplerate != r->rate)
        G4_TRY(g4_resampler_open(&r->resampler, r->info.samplerate, r->rate, r->name, err));
    describe(r);
    return read_samples(r, err);
}

g4_status g4_audio_decode(g4_clip *c, const char *name, const uint8_t *data, size_t size,
                          int64_t rate, int64_t max_samples, g4_err *err)
{
    int64_t frames = -1;
    int streamed = 0;
    memset(c, 0, sizeof *c);
    g4_sound kind = g4_sound_kind(data, size);   /* libsndfile's other readers stay out of reach */
    if (kind == G4_SOUND_NONE)
        return g4_fail(err, G4_EINPUT, "%s: %s", name,
                       size ? "neither a WAV, FLAC, MP3 nor Ogg file" : "empty file");
    if (kind == G4_SOUND_WAV) G4_TRY(g4_wav_check(name, data, size, &frames, &streamed, err));
    const char *foreign = kind == G4_SOUND_OGG ? g4_ogg_foreign(data, size) : NULL;
    if (foreign)
        return g4_fail(err, G4_EINPUT, "%s: %s in an Ogg file is not read, only Vorbis and Opus"
                       " are", name, foreign);
    reader r = { .name = name, .rate = rate, .max_samples = max_samples, .clip = c,
                 .streamed = streamed };
    memory m = { .data = data, .size = (sf_count_t)size };
    SF_VIRTUAL_IO io = { memory_size, memory_seek, memory_read, memory_write, memory_tell };
    r.sf = sf_open_virtual(&io, SFM_READ, &r.info, &m);
    if (!r.sf) return g4_fail(err, G4_EINPUT, "%s: damaged audio: %s", name, sf_strerror(NULL));
    g4_status s = read_open(&r, frames, err);
    sf_close(r.sf);
    g4_resampler_close(r.resampler);
    free(r.block);
    free(r.made);
    c->incomplete = g4_sound_ends_early(kind, data, size);
    if (s != G4_OK) g4_clip_free(c);
    return s;
}

/* --------------------------------------------------------- in a process apart */

typedef struct job {
    const char *path;
    const g4_map *map;
    int64_t rate, max_samples;
} job;

static void child_body(int fd, void *ctx)
{
    const job *j = ctx;
    g4_clip c;
    g4_err err;
    g4_child_seal();
    if (g4_audio_decode(&c, j->path, j->map->data, j->map->size, j->rate, j->max_samples,
                        &err) != G4_OK) {
        g4_child_send_error(fd, &err);
        return;
    }
    g4_child_send(fd, &c, sizeof c);
    g4_child_send(fd, c.samples, (size_t)c.count * sizeof *c.samples);
}

/* The child may have been overrun by its file: its clip is checked. */
static g4_status take_clip(g4_clip *c, g4_child *child, const job *j, g4_err *err)
{
    int64_t deadline = g4_child_deadline(child, (uint64_t)j->max_samples * sizeof *c->samples);
    G4_TRY(g4_child_frames(child, c, sizeof *c, deadline, err));
    c->samples = NULL;
    if (c->count < 1 || c->count > j->max_samples || c->total < c->count ||
        !memchr(c->note, 0, sizeof c->note))
        return g4_child_nonsense(child, err);
    c->samples = calloc((size_t)c->count, sizeof *c->samples);
    if (!c->samples) return g4_nomem(err, j->path);
    G4_TRY(g4_child_frames(child, c->samples, (uint64_t)c->count * sizeof *c->samples, deadline,
                           err));
    for (int64_t i = 0; i < c->count; i++)
        if (!isfinite(c->samples[i])) return g4_child_nonsense(child, err);
    return G4_OK;
}

/* MP3 and Ogg decoders are large, meet foreign bytes, and talk on stderr. */
static g4_status read_confined(g4_clip *c, const job *j, g4_err *err)
{
    enum { SPEED = 20 };   /* times as fast as sound, at least, even under sanitizers */
    g4_child child;
    G4_TRY(g4_child_fork(&child, j->path, "the decoder", child_body, (void *)(uintptr_t)j, err));
    int64_t extra = j->max_samples / j->rate / SPEED;
    child.seconds += extra < INT32_MAX / 2 ? (int)extra : INT32_MAX / 2;
    g4_status s = take_clip(c, &child, j, err);
    g4_child_stop(&child);
    if (s != G4_OK) g4_clip_free(c);
    return s;
}

g4_status g4_audio_read(g4_clip *c, const char *path, int64_t rate, int64_t max_samples,
                        g4_err *err)
{
    g4_map map;
    memset(c, 0, sizeof *c);
    G4_TRY(g4_map_open(&map, path, err));
    g4_sound kind = g4_sound_kind(map.data, map.size);
    const job j = { path, &map, rate, max_samples };
    g4_status s = kind == G4_SOUND_OGG || kind == G4_SOUND_MPEG
                      ? read_confined(c, &j, err)
                      : g4_audio_decode(c, path, map.data, map.size, rate, max_samples, err);
    g4_map_close(&map);
    return s;
}

void g4_clip_free(g4_clip *c)
{
    free(c->samples);
    memset(c, 0, sizeof *c);
}
