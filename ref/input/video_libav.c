/* SPDX-License-Identifier: Apache-2.0
 * demux -> decode -> hold one frame until the next one's time is known -> give
 * the held one to every sampling time in between, as RGB24.  Frames evenly over
 * the whole take a first pass that counts packets, and are given as they come.
 * The conversion is pinned: bicubic chroma, accurate rounding, bit-exact C
 * paths, the file's own matrix and range (BT.601 where it names none) [N48]; the
 * display matrix's quarter turns and mirrors are applied. */
#include "ref/input/video_libav.h"

#include <stdio.h>
#include <string.h>

#ifdef G4_WITH_LIBAV

#include "ref/input/libav.h"

#include <stdlib.h>

/* Containers that hold their own data; no playlists, no text, no devices. */
static const char formats[] =
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,ogg,flv,gif,apng,asf,ivf,yuv4mpegpipe,nut,mxf,"
    "h264,hevc,obu,av1,dv,rm,wtv,webp_pipe";
enum { FLAGS = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT };
enum { IO_BUFFER = 1 << 16, MAX_RETRIES = 1000 };

typedef struct memory {
    const uint8_t *data;
    int64_t size, at;
} memory;

typedef struct decoder {
    const g4_libav *av;
    const char *name;
    memory mem;
    AVFormatContext *format;
    AVStream *stream;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *next, *held;        /* just decoded; shown until next comes */
    struct SwsContext *sws;
    int64_t first, shown, length;   /* time of the first frame; the held one's, its duration */
    int have;                    /* is a frame held? */
    int64_t sample, max_frames;
    AVRational period;           /* seconds from a sample to the next */
    int64_t index, total;        /* of the next frame; of all, 0: samples are by time */
    g4_video_sink *sink;
    void *ctx;
    g4_libav_summary *sum;
} decoder;

static int on_read(void *opaque, uint8_t *out, int want)
{
    memory *m = opaque;
    if (want > m->size - m->at) want = (int)(m->size - m->at);
    if (want <= 0) return AVERROR_EOF;
    memcpy(out, m->data + m->at, (size_t)want);
    m->at += want;
    return want;
}

static int64_t on_seek(void *opaque, int64_t offset, int whence)
{
    memory *m = opaque;
    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE) return m->size;
    int64_t base = whence == SEEK_CUR ? m->at : whence == SEEK_END ? m->size : 0, to;
    if (__builtin_add_overflow(base, offset, &to) || to < 0 || to > m->size)
        return AVERROR(EINVAL);
    return m->at = to;
}

/* A file may name others; none is opened. */
static int on_open(AVFormatContext *s, AVIOContext **io, const char *url, int flags,
                   AVDictionary **options)
{
    (void)s;
    (void)io;
    (void)url;
    (void)flags;
    (void)options;
    return AVERROR(EPERM);
}

static g4_status failed(const decoder *d, const char *what, int code, g4_err *err)
{
    char why[AV_ERROR_MAX_STRING_SIZE];
    if (code == AVERROR(ENOMEM)) return g4_nomem(err, d->name);
    if (code == -1)   /* what decoders return for want of a better code; reads as EPERM */
        snprintf(why, sizeof why, "damaged");
    else if (code == AVERROR(EINVAL))   /* a format outside the list */
        snprintf(why, sizeof why, "not a container it is asked for");
    else
        d->av->av_strerror(code, why, sizeof why);
    return g4_fail(err, G4_EINPUT, "%s: %s: %s", d->name, what, why);
}

/* ------------------------------------------------------------- the container */

static g4_status open_format(decoder *d, g4_err *err)
{
    uint8_t *buffer = d->av->av_malloc(IO_BUFFER);
    AVIOContext *io = buffer ? d->av->avio_alloc_context(buffer, IO_BUFFER, 0, &d->mem, on_read,
                                                         NULL, on_seek) : NULL;
    d->format = d->av->avformat_alloc_context();
    if (!io || !d->format) {
        d->av->av_free(buffer);
        if (io) d->av->avio_context_free(&io);
        return g4_nomem(err, d->name);
    }
    d->format->pb = io;   /* freed in close_all, also when opening fails */
    d->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    d->format->io_open = on_open;
    d->format->format_whitelist = d->av->av_strdup(formats);
    d->format->protocol_whitelist = d->av->av_strdup("");
    int code = d->av->avformat_open_input(&d->format, "", NULL, NULL);
    if (code < 0) {
        d->av->av_free(io->buffer);
        d->av->avio_context_free(&io);
        return failed(d, "not a video that libav can read here", code, err);
    }
    code = d->av->avformat_find_stream_info(d->format, NULL);
    return code < 0 ? failed(d, "damaged video", code, err) : G4_OK;
}

static g4_status choose_stream(decoder *d, const AVCodec **codec, g4_err *err)
{
    AVFormatContext *f = d->format;
    int sound = 0, best = d->av->av_find_best_stream(f, AVMEDIA_TYPE_VIDEO, -1, -1, codec, 0);
    for (unsigned i = 0; i < f->nb_streams; i++) {
        sound |= f->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_AUDIO;
        if ((int)i != best) f->streams[i]->discard = AVDISCARD_ALL;
    }
    if (best == AVERROR_DECODER_NOT_FOUND)
        return g4_fail(err, G4_EINPUT, "%s: libav has no decoder for its video", d->name);
    /* A cover picture beside sound is no video. */
    if (best < 0 || f->streams[best]->disposition & AV_DISPOSITION_ATTACHED_PIC)
        return g4_fail(err, G4_EINPUT, "%s: no video in it%s", d->name,
                       sound ? ", only sound (--audio takes that)" : "");
    d->stream = f->streams[best];
    return G4_OK;
}

static g4_status open_codec(decoder *d, const AVCodec *codec, g4_err *err)
{
    d->codec = d->av->avcodec_alloc_context3(codec);
    d->packet = d->av->av_packet_alloc();
    d->next = d->av->av_frame_alloc();
    d->held = d->av->av_frame_alloc();
    if (!d->codec || !d->packet || !d->next || !d->held) return g4_nomem(err, d->name);
    int code = d->av->avcodec_parameters_to_context(d->codec, d->stream->codecpar);
    if (code < 0) return failed(d, "damaged video", code, err);
    d->codec->pkt_timebase = d->stream->time_base;
    d->codec->thread_count = 1;   /* the child may start none */
    d->codec->max_pixels = G4_VIDEO_MAX_PIXELS;
    d->codec->flags |= AV_CODEC_FLAG_BITEXACT;
    code = d->av->avcodec_open2(d->codec, codec, NULL);
    return code < 0 ? failed(d, "cannot decode the video", code, err) : G4_OK;
}

/* --------------------------------------------------------------- one picture */

/* The frame's display matrix, else the stream's; NULL: none.  Maps (x, y) to
 * (a x + c y, b x + d y) with a, b, c, d at 0, 1, 3, 4. */
static const int32_t *display_matrix(const decoder *d)
{
    const AVFrameSideData *own =
        d->av->av_frame_get_side_data(d->held, AV_FRAME_DATA_DISPLAYMATRIX);
    if (own && own->size >= 9 * sizeof(int32_t)) return (const int32_t *)(const void *)own->data;
#if LIBAVFORMAT_VERSION_MAJOR >= 61
    const AVCodecParameters *p = d->stream->codecpar;
    const AVPacketSideData *s = d->av->av_packet_side_data_get(
        p->coded_side_data, p->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    if (s && s->size >= 9 * sizeof(int32_t)) return (const int32_t *)(const void *)s->data;
#else
    size_t size = 0;
    const uint8_t *s = d->av->av_stream_get_side_data(d->stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
    if (s && size >= 9 * sizeof(int32_t)) return (const int32_t *)(const void *)s;
#endif
    return NULL;
}

/* rows: [h][stride] RGB; rgb: packed, turned as the matrix says. */
static void turn(g4_image *im, const uint8_t *rows, int stride, int w, int h, const int32_t *m)
{
    int64_t a = m ? m[0] : 1, b = m ? m[1] : 0, c = m ? m[3] : 0, e = m ? m[4] : 1;
    int across = llabs(b) > llabs(a) && llabs(c) > llabs(e);
    im->width = across ? h : w;
    im->height = across ? w : h;
    for (int64_t y = 0; y < im->height; y++)
        for (int64_t x = 0; x < im->width; x++) {
            int64_t u = across ? y : x, v = across ? x : y;   /* column, row of the frame */
            if ((across ? b : a) < 0) u = w - 1 - u;
            if ((across ? c : e) < 0) v = h - 1 - v;
            memcpy(im->rgb + 3 * (y * im->width + x), rows + v * stride + 3 * u, 3);
        }
}

static g4_status convert(decoder *d, g4_image *im, uint8_t **rows, g4_err *err)
{
    const AVFrame *f = d->held;
    int w = f->width, h = f->height, stride = FFALIGN(3 * w, 64);
    if (w < 1 || h < 1 || w > G4_IMAGE_MAX_SIDE || h > G4_IMAGE_MAX_SIDE ||
        (int64_t)w * h > G4_VIDEO_MAX_PIXELS)
        return g4_fail(err, G4_EINPUT, "%s: frames of %d x %d pixels, at most %d in all", d->name,
                       w, h, (int)G4_VIDEO_MAX_PIXELS);
    d->sws = d->av->sws_getCachedContext(d->sws, w, h, f->format, w, h, AV_PIX_FMT_RGB24, FLAGS,
                                         NULL, NULL, NULL);
    *rows = d->av->av_malloc((size_t)stride * (size_t)h + 64);
    im->rgb = malloc((size_t)w * (size_t)h * 3);
    if (!*rows || !im->rgb) return g4_nomem(err, d->name);
    if (!d->sws)
        return g4_fail(err, G4_EINPUT, "%s: libswscale cannot convert its frames to RGB", d->name);
    const int *matrix = d->av->sws_getCoefficients(f->colorspace == AVCOL_SPC_UNSPECIFIED
                                                       ? SWS_CS_DEFAULT : (int)f->colorspace);
    const int *usual = d->av->sws_getCoefficients(SWS_CS_DEFAULT);
    int full = f->color_range == AVCOL_RANGE_JPEG;
    d->av->sws_setColorspaceDetails(d->sws, matrix, full, usual, 1, 0, 1 << 16, 1 << 16);
    uint8_t *to[4] = { *rows };
    int strides[4] = { stride };
    if (d->av->sws_scale(d->sws, (const uint8_t *const *)f->data, f->linesize, 0, h, to,
                         strides) != h)
        return g4_fail(err, G4_EINPUT, "%s: libswscale cannot convert its frames to RGB", d->name);
    turn(im, *rows, stride, w, h, display_matrix(d));
    return G4_OK;
}

/* The held frame for the sampling time that is due. */
static g4_status give(decoder *d, g4_err *err)
{
    g4_image im = { 0, 0, NULL };
    uint8_t *rows = NULL;
    if (d->sample == d->max_frames) {
        d->sum->more = 1;
        return G4_OK;
    }
    g4_status s = convert(d, &im, &rows, err);
    double at = d->total ? (double)d->shown * av_q2d(d->stream->time_base)
                         : (double)d->sample * av_q2d(d->period);
    if (s == G4_OK) s = d->sink(d->ctx, &im, at, err);
    d->av->av_free(rows);
    free(im.rgb);
    d->sample++;
    d->sum->frames = d->sample;
    return s;
}

/* ------------------------------------------------------------------ the times */

/* Ticks that a frame is shown, by itself or by the stream's rate; at least 1. */
static int64_t frame_length(const decoder *d, AVFrame *f)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
    int64_t ticks = f->duration;
#else
    int64_t ticks = f->pkt_duration;
#endif
    AVRational rate = d->av->av_guess_frame_rate(d->format, d->stream, f);
    if (ticks <= 0 && rate.num > 0 && rate.den > 0)
        ticks = d->av->av_rescale_q(1, av_inv_q(rate), d->stream->time_base);
    return ticks > 0 ? ticks : 1;
}

/* Is sample k's time before `ticks` behind the first frame? */
static int before(const decoder *d, int64_t k, int64_t ticks)
{
    return !d->total && d->av->av_compare_ts(k, d->period, ticks, d->stream->time_base) < 0;
}

/* The next frame has come: the held one's interval ends. */
static g4_status advance(decoder *d, g4_err *err)
{
    int64_t at = d->next->best_effort_timestamp, from;
    int64_t expected = d->shown + (d->length < INT64_MAX / 4 ? d->length : 1);
    if (d->next->flags & AV_FRAME_FLAG_CORRUPT || d->next->decode_error_flags) d->sum->damaged++;
    if (!d->have) d->first = at == AV_NOPTS_VALUE ? 0 : at;
    if (at == AV_NOPTS_VALUE || __builtin_sub_overflow(at, d->first, &from))
        from = d->have ? expected : 0;   /* no time of its own */
    if (from < d->shown) from = d->shown;
    if (from > INT64_MAX / 4) from = INT64_MAX / 4;
    while (d->have && !d->sum->more && before(d, d->sample, from)) G4_TRY(give(d, err));
    d->av->av_frame_unref(d->held);
    d->av->av_frame_move_ref(d->held, d->next);
    d->shown = from;
    d->length = frame_length(d, d->held);
    d->have = 1;
    /* Frame i * total / count is the i-th of an even choice [N47]. */
    int64_t index = d->index++;
    if (d->total && d->sample < d->max_frames && d->sample * d->total / d->max_frames == index)
        return give(d, err);
    return G4_OK;
}

/* Takes what the decoder has ready. */
static g4_status drain(decoder *d, g4_err *err)
{
    while (!d->sum->more) {
        int code = d->av->avcodec_receive_frame(d->codec, d->next);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return G4_OK;
        if (code == AVERROR(ENOMEM)) return g4_nomem(err, d->name);
        if (code < 0) {
            d->sum->damaged++;
            return G4_OK;
        }
        G4_TRY(advance(d, err));
    }
    return G4_OK;
}

static g4_status decode_all(decoder *d, g4_err *err)
{
    int retries = 0, code = 0;
    while (!d->sum->more && retries < MAX_RETRIES) {
        code = d->av->av_read_frame(d->format, d->packet);
        if (code == AVERROR(EAGAIN)) retries++;
        if (code == AVERROR(EAGAIN)) continue;
        if (code < 0) break;
        int ours = d->packet->stream_index == d->stream->index;
        if (ours && (code = d->av->avcodec_send_packet(d->codec, d->packet)) < 0) d->sum->damaged++;
        d->av->av_packet_unref(d->packet);
        if (code == AVERROR(ENOMEM)) return g4_nomem(err, d->name);
        if (ours) G4_TRY(drain(d, err));
    }
    if (code < 0 && code != AVERROR_EOF) d->sum->damaged++;
    d->av->avcodec_send_packet(d->codec, NULL);
    G4_TRY(drain(d, err));
    if (!d->have)
        return g4_fail(err, G4_EINPUT, "%s: not one frame of its video (%s) can be decoded",
                       d->name, d->codec->codec->name);
    int64_t end = d->shown + (d->length < INT64_MAX / 4 ? d->length : 1);
    /* Some containers count the announced length from 0, wherever the clock starts. */
    if (d->first > 0 && d->first < INT64_MAX / 4) d->sum->end = (double)d->first;
    d->sum->end = (d->sum->end + (double)end) * av_q2d(d->stream->time_base);
    if (d->total) d->sum->total = d->index;
    if (d->sample == 0) G4_TRY(give(d, err));
    while (!d->sum->more && before(d, d->sample, end)) G4_TRY(give(d, err));
    return G4_OK;
}

static void close_all(decoder *d)
{
    AVIOContext *io = d->format ? d->format->pb : NULL;
    d->av->sws_freeContext(d->sws);
    d->av->av_frame_free(&d->held);
    d->av->av_frame_free(&d->next);
    d->av->av_packet_free(&d->packet);
    d->av->avcodec_free_context(&d->codec);
    if (d->format) d->av->avformat_close_input(&d->format);
    if (io) d->av->av_free(io->buffer);
    d->av->avio_context_free(&io);
}

/* How many packets the video has: as a rule, its frames. */
static g4_status count_frames(decoder *d, g4_err *err)
{
    const AVCodec *codec = NULL;
    AVPacket *p = d->av->av_packet_alloc();
    g4_status s = p ? open_format(d, err) : g4_nomem(err, d->name);
    if (s == G4_OK) s = choose_stream(d, &codec, err);
    for (int retries = 0, code; s == G4_OK && retries < MAX_RETRIES;) {
        code = d->av->av_read_frame(d->format, p);
        retries += code == AVERROR(EAGAIN);
        if (code == AVERROR(ENOMEM)) s = g4_nomem(err, d->name);
        if (code < 0 && code != AVERROR(EAGAIN)) break;
        if (code >= 0) d->total += p->stream_index == d->stream->index;
        if (code >= 0) d->av->av_packet_unref(p);
    }
    d->av->av_packet_free(&p);
    close_all(d);
    d->format = NULL;
    d->mem.at = 0;
    if (s == G4_OK && d->total == 0)
        s = g4_fail(err, G4_EINPUT, "%s: no frame in its video", d->name);
    if (d->max_frames > d->total) d->max_frames = d->total;
    return s;
}

static void describe(const decoder *d)
{
    const AVFormatContext *f = d->format;
    g4_libav_summary *s = d->sum;
    unsigned format = d->av->avformat_version(), codec = d->av->avcodec_version();
    unsigned scale = d->av->swscale_version();
    int64_t ticks = d->stream->duration;
    if (ticks != AV_NOPTS_VALUE && ticks > 0)
        s->announced = (double)ticks * av_q2d(d->stream->time_base);
    else if (f->nb_streams == 1 && f->duration != AV_NOPTS_VALUE && f->duration > 0)
        s->announced = (double)f->duration / AV_TIME_BASE;
    snprintf(s->note, sizeof s->note, "%.40s, %.40s, %d x %d, libavformat %u.%u.%u, libavcodec "
             "%u.%u.%u, libswscale %u.%u.%u", f->iformat->name, d->codec->codec->name,
             d->codec->width, d->codec->height, format >> 16, format >> 8 & 255, format & 255,
             codec >> 16, codec >> 8 & 255, codec & 255, scale >> 16, scale >> 8 & 255,
             scale & 255);
}

g4_status g4_libav_decode(const g4_libav *av, const char *name, const uint8_t *data,
                          size_t size, const g4_video_sampling *how, g4_video_sink *sink,
                          void *ctx, g4_libav_summary *sum, g4_err *err)
{
    const AVCodec *codec = NULL;
    decoder d = { .av = av, .name = name, .mem = { data, (int64_t)size, 0 }, .sink = sink,
                  .ctx = ctx, .sum = sum,
                  .period = av->av_d2q(how->fps > 0 ? 1 / how->fps : 1, 1000000),
                  .max_frames = how->frames ? how->frames : G4_VIDEO_MAX_FRAMES };
    memset(sum, 0, sizeof *sum);
    av->av_log_set_level(AV_LOG_QUIET);
    g4_status s = how->frames ? count_frames(&d, err) : G4_OK;
    if (s == G4_OK) s = open_format(&d, err);
    if (s == G4_OK) s = choose_stream(&d, &codec, err);
    if (s == G4_OK) s = open_codec(&d, codec, err);
    if (s == G4_OK) s = decode_all(&d, err);
    if (s == G4_OK) describe(&d);
    close_all(&d);
    return s;
}

#else

/* Not called: g4_libav_open gives none. */
g4_status g4_libav_decode(const g4_libav *av, const char *name, const uint8_t *data,
                          size_t size, const g4_video_sampling *how, g4_video_sink *sink,
                          void *ctx, g4_libav_summary *sum, g4_err *err)
{
    (void)av;
    (void)data;
    (void)size;
    (void)how;
    (void)sink;
    (void)ctx;
    memset(sum, 0, sizeof *sum);
    return g4_fail(err, G4_EINPUT, "%s: libav is not built in", name);
}

#endif
