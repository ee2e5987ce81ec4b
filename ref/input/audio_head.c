/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/audio_head.h"

#include "ref/base/bytes.h"

/* "fmt ": tag u16, channels u16, rate u32, bytes/s u32, frame bytes u16, bits u16 */
typedef struct wav {
    uint64_t channels, rate, frame_bytes;
    uint64_t riff_bytes, data_bytes, long_bytes;   /* long: of data, by RF64's ds64 chunk */
    int has_fmt, has_data, streamed;
} wav;

/* What a program writes that cannot go back to its header: FFmpeg, then SoX. */
enum { UNKNOWN = 0xffffffffu, SOX_UNKNOWN = 0x7ffff000 };

static void read_fmt(wav *w, g4_bytes *b)
{
    g4_bytes_uint(b, 2);
    w->channels = g4_bytes_uint(b, 2);
    w->rate = g4_bytes_uint(b, 4);
    g4_bytes_uint(b, 4);
    w->frame_bytes = g4_bytes_uint(b, 2);
    w->has_fmt = !b->bad;
}

/* The length of the data chunk at b.  Only a header that knows neither its own
 * length nor the data's is believed not to know: one wrong length is damage. */
static uint64_t data_length(wav *w, const g4_bytes *b, uint64_t length)
{
    if (length == UNKNOWN && w->long_bytes) return w->long_bytes;
    w->streamed = (length == UNKNOWN && w->riff_bytes == UNKNOWN) ||
                  (length == SOX_UNKNOWN && w->riff_bytes == SOX_UNKNOWN + b->at - 8);
    if (!w->streamed) return length;
    uint64_t left = b->size - b->at;
    return w->frame_bytes ? left - left % w->frame_bytes : left;
}

/* Walks the chunks (id, size u32, body, pad to even) up to "data". */
static g4_status read_chunks(wav *w, const char *name, const uint8_t *data, size_t size,
                             g4_err *err)
{
    g4_bytes b = { .data = data, .size = size, .at = 4 };
    memset(w, 0, sizeof *w);
    w->riff_bytes = g4_bytes_uint(&b, 4);
    g4_bytes_take(&b, 4);
    while (!w->has_data) {
        const uint8_t *id = g4_bytes_take(&b, 4);
        uint64_t length = g4_bytes_uint(&b, 4);
        if (b.bad)
            return g4_fail(err, G4_EINPUT, "%s: damaged WAV: no %s chunk", name,
                           w->has_fmt ? "data" : "fmt");
        if (memcmp(id, "data", 4) == 0) length = data_length(w, &b, length);
        if (length > b.size - b.at)
            return g4_fail(err, G4_EINPUT,
                           "%s: damaged WAV: chunk %.4s says %llu bytes, the file has %zu left",
                           name, (const char *)id, (unsigned long long)length, b.size - b.at);
        if (memcmp(id, "fmt ", 4) == 0) {
            g4_bytes body = { .data = b.data + b.at, .size = (size_t)length };
            read_fmt(w, &body);
        }
        if (memcmp(id, "ds64", 4) == 0 && memcmp(data, "RF64", 4) == 0) {
            g4_bytes body = { .data = b.data + b.at, .size = (size_t)length };
            g4_bytes_take(&body, 8);   /* the file's own length */
            w->long_bytes = g4_bytes_uint(&body, 8);
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

g4_status g4_audio_check_shape(const char *name, uint64_t channels, uint64_t rate, g4_err *err)
{
    if (channels < 1 || channels > G4_AUDIO_MAX_CHANNELS)
        return g4_fail(err, G4_EINPUT, "%s: %llu channels, expected 1 to %d", name,
                       (unsigned long long)channels, (int)G4_AUDIO_MAX_CHANNELS);
    if (rate < 1 || rate > G4_AUDIO_MAX_RATE)
        return g4_fail(err, G4_EINPUT, "%s: a sampling rate of %llu Hz, expected 1 to %d", name,
                       (unsigned long long)rate, (int)G4_AUDIO_MAX_RATE);
    return G4_OK;
}

g4_status g4_wav_check(const char *name, const uint8_t *data, size_t size, int64_t *frames,
                       int *streamed, g4_err *err)
{
    wav w;
    G4_TRY(read_chunks(&w, name, data, size, err));
    G4_TRY(g4_audio_check_shape(name, w.channels, w.rate, err));
    if (w.frame_bytes == 0 || w.frame_bytes % w.channels || w.data_bytes % w.frame_bytes)
        return g4_fail(err, G4_EINPUT,
                       "%s: damaged WAV: %llu bytes of data in frames of %llu bytes for %llu"
                       " channels", name, (unsigned long long)w.data_bytes,
                       (unsigned long long)w.frame_bytes, (unsigned long long)w.channels);
    *frames = (int64_t)(w.data_bytes / w.frame_bytes);
    *streamed = w.streamed;
    return G4_OK;
}

g4_sound g4_sound_kind(const uint8_t *data, size_t size)
{
    if (size >= 12 && (memcmp(data, "RIFF", 4) == 0 || memcmp(data, "RF64", 4) == 0) &&
        memcmp(data + 8, "WAVE", 4) == 0)
        return G4_SOUND_WAV;
    if (size >= 4 && memcmp(data, "fLaC", 4) == 0) return G4_SOUND_FLAC;
    if (size >= 4 && memcmp(data, "OggS", 4) == 0) return G4_SOUND_OGG;
    if (size >= 3 && memcmp(data, "ID3", 3) == 0) return G4_SOUND_MPEG;
    /* Bits 1 and 2 are the layer; AAC's stream has 0 there. */
    if (size >= 2 && data[0] == 0xff && (data[1] & 0xe0) == 0xe0 && (data[1] & 6))
        return G4_SOUND_MPEG;
    return G4_SOUND_NONE;
}

const char *g4_ogg_foreign(const uint8_t *data, size_t size)
{
    static const struct {
        const char *head, *name;
    } rows[] = { { "\x7f" "FLAC", "FLAC" }, { "Speex   ", "Speex" }, { "\x80theora", "Theora" } };
    size_t at = size > 26 ? 27 + (size_t)data[26] : size;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].head);
        if (at <= size && size - at >= n && memcmp(data + at, rows[i].head, n) == 0)
            return rows[i].name;
    }
    return NULL;
}

/* A page is at most 27 + 255 + 255 * 255 bytes: the last one starts in those.
 * Its byte 5 has flags, 4: end of stream; 26 its count of segments; the lengths
 * of those follow. */
static int ogg_ends_early(const uint8_t *data, size_t size)
{
    size_t from = size > 27 + 255 + 255 * 255 ? size - (27 + 255 + 255 * 255) : 0;
    for (size_t at = from; at + 27 <= size; at++) {
        if (memcmp(data + at, "OggS", 4) != 0) continue;
        size_t segments = data[at + 26], end = at + 27 + segments;
        if (end > size) return 1;
        for (size_t i = 0; i < segments; i++) end += data[at + 27 + i];
        if (end > size) return 1;
        if (end == size) return !(data[at + 5] & 4);
    }
    return 0;   /* other bytes behind the stream: no verdict */
}

/* ID3v2: "ID3", two of version, flags, four times 7 bits of length.  The first
 * frame is silent and holds, behind 4 + 9 to 32 bytes, "Xing" or "Info", flags
 * u32, count of frames u32 (flag 1), bytes from this frame on u32 (flag 2), all
 * big-endian. */
static int mpeg_ends_early(const uint8_t *data, size_t size)
{
    size_t at = 0;
    if (size >= 10 && memcmp(data, "ID3", 3) == 0)
        at = 10 + (((size_t)data[6] & 127) << 21 | (data[7] & 127) << 14 | (data[8] & 127) << 7 |
                   (data[9] & 127));
    for (size_t i = at + 13; i <= at + 36 && i < size && size - i >= 16; i++) {
        const uint8_t *p = data + i;
        if (memcmp(p, "Xing", 4) != 0 && memcmp(p, "Info", 4) != 0) continue;
        if (!(p[7] & 2)) return 0;
        p += p[7] & 1 ? 12 : 8;
        size_t bytes = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        return bytes > size - at;
    }
    return 0;
}

int g4_sound_ends_early(g4_sound kind, const uint8_t *data, size_t size)
{
    return kind == G4_SOUND_OGG    ? ogg_ends_early(data, size)
           : kind == G4_SOUND_MPEG ? mpeg_ends_early(data, size)
                                   : 0;
}
