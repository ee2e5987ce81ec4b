/* SPDX-License-Identifier: Apache-2.0
 * WebP by libwebp: lossy, lossless, with or without alpha (which is dropped).
 * An animation gives its first frame on a black canvas: that is what Pillow's
 * Image.open hands to Transformers, which then never seeks.  libwebpdemux finds
 * the frame and refuses files whose sizes contradict each other. */
#include "ref/input/exif.h"
#include "ref/input/image_impl.h"

#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

/* libwebp's own words are only codes. */
static const char *fault_of(VP8StatusCode code)
{
    switch (code) {
    case VP8_STATUS_BITSTREAM_ERROR: return "bad bitstream";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "unsupported feature";
    case VP8_STATUS_NOT_ENOUGH_DATA: return "the file ends too early";
    case VP8_STATUS_INVALID_PARAM: return "sizes contradict each other";
    default: return "cannot be decoded";
    }
}

/* The frame's pixels into their place on the canvas. */
static g4_status decode_frame(g4_image *im, const WebPIterator *frame, const char *name,
                              g4_err *err)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return g4_fail(err, G4_EINPUT, "%s: libwebp is of another version than its headers", name);
    VP8StatusCode code = WebPGetFeatures(frame->fragment.bytes, frame->fragment.size,
                                         &config.input);
    int64_t x = frame->x_offset, y = frame->y_offset;
    if (code == VP8_STATUS_OK &&
        (config.input.width != frame->width || config.input.height != frame->height || x < 0 ||
         y < 0 || x + frame->width > im->width || y + frame->height > im->height))
        code = VP8_STATUS_INVALID_PARAM;
    if (code == VP8_STATUS_OK) {
        size_t row = (size_t)im->width * 3, first = (size_t)y * row + (size_t)x * 3;
        config.output.colorspace = MODE_RGB;
        config.output.is_external_memory = 1;
        config.output.u.RGBA.rgba = im->rgb + first;
        config.output.u.RGBA.stride = (int)row;
        config.output.u.RGBA.size = (size_t)im->height * row - first;
        code = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
        WebPFreeDecBuffer(&config.output);
    }
    if (code == VP8_STATUS_OUT_OF_MEMORY) return g4_nomem(err, name);
    if (code != VP8_STATUS_OK)
        return g4_fail(err, G4_EINPUT, "%s: damaged WebP: %s", name, fault_of(code));
    return G4_OK;
}

static g4_status decode_first(g4_image *im, WebPDemuxer *d, const char *name, g4_err *err)
{
    WebPIterator frame;
    uint32_t width = WebPDemuxGetI(d, WEBP_FF_CANVAS_WIDTH);
    uint32_t height = WebPDemuxGetI(d, WEBP_FF_CANVAS_HEIGHT);
    G4_TRY(g4_image_alloc(im, name, width, height, err));
    if (!WebPDemuxGetFrame(d, 1, &frame))
        return g4_fail(err, G4_EINPUT, "%s: damaged WebP: no frame", name);
    if (frame.width != im->width || frame.height != im->height)
        memset(im->rgb, 0, (size_t)(im->width * im->height * 3));
    g4_status s = decode_frame(im, &frame, name, err);
    WebPDemuxReleaseIterator(&frame);
    return s;
}

static g4_status find_orientation(WebPDemuxer *d, int *orientation, const char *name, g4_err *err)
{
    g4_exif e = { NULL, 0, NULL, 0, 0 };
    WebPChunkIterator exif, xmp;
    int has_exif = WebPDemuxGetChunk(d, "EXIF", 1, &exif);
    int has_xmp = WebPDemuxGetChunk(d, "XMP ", 1, &xmp);
    if (has_exif) {
        e.exif = exif.chunk.bytes;
        e.exif_size = exif.chunk.size;
    }
    if (has_xmp) {
        e.xmp = xmp.chunk.bytes;
        e.xmp_size = xmp.chunk.size;
    }
    g4_status s = g4_exif_orientation(&e, name, orientation, err);
    if (has_exif) WebPDemuxReleaseChunkIterator(&exif);
    if (has_xmp) WebPDemuxReleaseChunkIterator(&xmp);
    return s;
}

/* Why libwebpdemux refused: it says no more than NULL. */
static g4_status refuse(const char *name, const uint8_t *data, size_t size, g4_err *err)
{
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(data, size, &features);
    uint64_t inside = 0;
    for (size_t i = 0; size >= 12 && i < 4; i++) inside |= (uint64_t)data[4 + i] << (8 * i);
    if (size < 12 || inside + 8 > size) code = VP8_STATUS_NOT_ENOUGH_DATA;
    if (code == VP8_STATUS_OK) code = VP8_STATUS_INVALID_PARAM;
    return g4_fail(err, G4_EINPUT, "%s: damaged WebP: %s", name, fault_of(code));
}

g4_status g4_webp_decode(g4_image *im, int *orientation, const char *name, const uint8_t *data,
                         size_t size, g4_err *err)
{
    WebPData bytes = { data, size };
    WebPDemuxer *d = WebPDemux(&bytes);
    if (!d) return refuse(name, data, size, err);
    g4_status s = decode_first(im, d, name, err);
    if (s == G4_OK) s = find_orientation(d, orientation, name, err);
    WebPDemuxDelete(d);
    return s;
}
