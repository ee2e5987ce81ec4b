/* SPDX-License-Identifier: Apache-2.0
 * A video as a folder of frames: every *.png in it, in the byte order of the
 * names, one second apart and the first at 0; or at the times that a file
 * times.txt in the folder gives, one number of seconds a line ("12.5"), as many
 * lines as frames.  Other files are left alone.  Video files proper need a
 * decoder that is not built in, and say so. */
#ifndef G4_INPUT_VIDEO_H
#define G4_INPUT_VIDEO_H

#include "ref/base/arena.h"
#include "ref/base/err.h"

#include <stdint.h>

enum { G4_VIDEO_MAX_FRAMES = 60 };   /* the model's documentation: one minute at 1 per second */

typedef struct g4_video {
    int64_t count;               /* frames kept, >= 1 */
    int64_t total;               /* frames in the folder; more than count: it was cut */
    char **paths;                /* [count] */
    double *seconds;             /* [count] */
} g4_video;

g4_status g4_video_list(g4_video *v, const char *dir, g4_arena *arena, g4_err *err);

#endif
