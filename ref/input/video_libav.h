/* SPDX-License-Identifier: Apache-2.0
 * Video files by FFmpeg's libraries, which are optional: without G4_WITH_LIBAV
 * (Makefile, PKGS_VIDEO) g4_libav_open says what to install.  Decoding reads from memory,
 * opens nothing, and is meant to run where a crash does no harm. */
#ifndef G4_INPUT_VIDEO_LIBAV_H
#define G4_INPUT_VIDEO_LIBAV_H

#include "ref/base/err.h"
#include "ref/input/video.h"

#include <stddef.h>
#include <stdint.h>

/* Pixels of a frame: a decoder keeps up to 16 of them, and the child has 2 GiB. */
enum { G4_VIDEO_MAX_PIXELS = 36 << 20 };

typedef struct g4_libav_summary {
    int64_t frames;              /* given to the sink */
    int64_t total;               /* of the video, where frames are taken evenly */
    int64_t damaged;             /* packets that did not decode, frames marked so */
    int32_t more;                /* 1: it goes on behind the last sample */
    double end, announced;       /* seconds of video found and promised; 0: no promise */
    char note[300];              /* format, codec, size, versions */
} g4_libav_summary;

/* The libraries (libav.h), loaded; G4_EINPUT: not built in, or not there any more. */
typedef struct g4_libav g4_libav;
g4_status g4_libav_open(g4_libav **out, const char *name, g4_err *err);
void g4_libav_close(g4_libav *av);
/* The frames that video.h describes. */
g4_status g4_libav_decode(const g4_libav *av, const char *name, const uint8_t *data,
                          size_t size, const g4_video_sampling *how, g4_video_sink *sink,
                          void *ctx, g4_libav_summary *sum, g4_err *err);

#endif
