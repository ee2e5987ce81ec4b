/* SPDX-License-Identifier: Apache-2.0
 * A video as pictures with times.
 * A folder: every *.png in it, in the byte order of the names, 1 / fps seconds
 * apart and the first at 0; or at the times that a file times.txt in the folder
 * gives, one number of seconds a line ("12.5"), as many lines as frames.  Other
 * files are left alone.
 * A file: at t = 0, 1, 2, ... 1 / fps seconds the frame whose display interval
 * covers t, the first frame's being 0; t is also the time that the prompt says.
 * Either, by a count of frames instead: number i * total / count of all, at its
 * own time, as Transformers' sampler chooses (its default: 32) [N47].  Decoded
 * by libav (video_libav.h), where it was built in, in a confined child. */
#ifndef G4_INPUT_VIDEO_H
#define G4_INPUT_VIDEO_H

#include "ref/base/arena.h"
#include "ref/base/err.h"
#include "ref/input/image.h"

#include <stdint.h>

enum {
    G4_VIDEO_MAX_FRAMES = 60,    /* the model's documentation: one minute at 1 per second */
    G4_VIDEO_MOST = 256          /* that a caller may ask for */
};

/* Which frames of a video are taken; all 0: one a second, the first 60. */
typedef struct g4_video_sampling {
    double fps;                  /* frames a second, the first 60; 0: 1 */
    int64_t frames;              /* so many, evenly over the whole; 0: by fps */
} g4_video_sampling;

typedef struct g4_video {
    int64_t count;               /* frames kept, >= 1 */
    int64_t total;               /* frames in the folder; more than count: not all taken */
    int evenly;                  /* i-th kept: number i * total / count */
    char **paths;                /* [count] */
    double *seconds;             /* [count] */
} g4_video;

/* The folder's frames. */
g4_status g4_video_list(g4_video *v, const char *dir, const g4_video_sampling *how,
                        g4_arena *arena, g4_err *err);

typedef struct g4_video_info {
    char note[400];              /* how it was decoded and sampled: one line */
    char warning[240];           /* what was cut or damaged; "": nothing */
} g4_video_info;

/* Receives one frame; im and what it points to are the caller's. */
typedef g4_status g4_video_sink(void *ctx, const g4_image *im, double seconds, g4_err *err);

/* Folder or file, frame by frame, all of one size. */
g4_status g4_video_read(const char *path, const g4_video_sampling *how, g4_video_sink *sink,
                        void *ctx, g4_video_info *info, g4_err *err);

#endif
