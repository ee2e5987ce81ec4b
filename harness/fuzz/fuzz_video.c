/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: any bytes as a video file, decoded in this process where the
 * program uses a child, and as the times.txt of a folder with three frames. */
#include "harness/fuzz/folder.h"
#include "ref/input/video.h"
#include "ref/input/video_libav.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FRAMES = 3 };

static void require(int holds)
{
    if (!holds) abort();
}

/* Every byte of the picture must be there, and be a value that was written. */
static g4_status take(void *ctx, const g4_image *im, double seconds, g4_err *err)
{
    int64_t *taken = ctx;
    volatile uint8_t last;
    (void)err;
    require(im->width >= 1 && im->height >= 1);
    require(im->width * im->height <= G4_VIDEO_MAX_PIXELS);
    require(isfinite(seconds) && seconds >= 0);
    last = im->rgb[im->width * im->height * 3 - 1];
    (void)last;
    ++*taken;
    return G4_OK;
}

static const g4_video_sampling every = { 0, 0 }, some = { 0, FRAMES };

static void decode(const g4_libav *av, const uint8_t *data, size_t size,
                   const g4_video_sampling *how)
{
    int64_t most = how->frames ? how->frames : G4_VIDEO_MAX_FRAMES;
    g4_libav_summary sum;
    g4_err err = { G4_OK, "" };
    int64_t taken = 0;
    if (g4_libav_decode(av, "fuzz", data, size, how, take, &taken, &sum, &err) == G4_OK) {
        require(taken >= 1 && taken <= most && sum.frames == taken);
        require(memchr(sum.note, 0, sizeof sum.note) && sum.damaged >= 0);
        require(isfinite(sum.end) && isfinite(sum.announced));
    } else {
        require(strncmp(err.msg, "fuzz: ", 6) == 0 || err.code == G4_ENOMEM);
    }
}

static void times(const uint8_t *data, size_t size)
{
    static const char *const names[FRAMES] = { "0.png", "1.png", "2.PNG" };
    static int begun;
    g4_video v;
    g4_arena arena = { NULL };
    g4_err err = { G4_OK, "" };
    const char *dir = fuzz_folder();
    for (int i = 0; i < FRAMES && !begun; i++) fuzz_file(names[i], "", 0);
    begun = 1;
    fuzz_file("times.txt", data, size);
    if (g4_video_list(&v, dir, &every, &arena, &err) == G4_OK) {
        require(v.count == FRAMES && v.total == FRAMES);
        for (int i = 0; i < FRAMES; i++) require(v.seconds[i] >= 0 && v.seconds[i] < 360000);
    } else {
        require(strncmp(err.msg, dir, strlen(dir)) == 0);
    }
    g4_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static g4_libav *av;
    if (av || g4_libav_open(&av, "fuzz", NULL) == G4_OK) {   /* loaded once */
        decode(av, data, size, &every);
        decode(av, data, size, &some);
    }
    times(data, size);
    return 0;
}
