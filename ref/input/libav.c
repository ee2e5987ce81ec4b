/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/video_libav.h"

#include <stdlib.h>

#ifdef G4_WITH_LIBAV

#include "ref/input/libav.h"

#include <dlfcn.h>
#include <string.h>

/* The next of the library's functions; 0: it is not there. */
static int find(void *library, const char *name, void *function)
{
    void *at = dlsym(library, name);
    memcpy(function, &at, sizeof at);   /* POSIX's way from an object's address to a function's */
    return at != NULL;
}

#define SONAME(name, version) "lib" #name ".so." AV_STRINGIFY(version)

g4_status g4_libav_open(g4_libav **out, const char *name, g4_err *err)
{
    static const char *const soname[G4_LIBAV_LIBS] = {
        [G4_LIBAV_UTIL_LIB] = SONAME(avutil, LIBAVUTIL_VERSION_MAJOR),
        [G4_LIBAV_SCALE_LIB] = SONAME(swscale, LIBSWSCALE_VERSION_MAJOR),
        [G4_LIBAV_CODEC_LIB] = SONAME(avcodec, LIBAVCODEC_VERSION_MAJOR),
        [G4_LIBAV_FORMAT_LIB] = SONAME(avformat, LIBAVFORMAT_VERSION_MAJOR),
    };
    int complete = 1;
    g4_libav *av = calloc(1, sizeof *av);
    *out = NULL;
    if (!av) return g4_nomem(err, name);
    /* Never unloaded: some of what they load leaks then. */
    for (int i = 0; i < G4_LIBAV_LIBS; i++)
        if (!(av->library[i] = dlopen(soname[i], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE))) {
            g4_libav_close(av);
            return g4_fail(err, G4_EINPUT, "%s: video files need %s, which cannot be loaded:"
                           " install FFmpeg's libraries, or give a folder of PNG frames", name,
                           soname[i]);
        }
#define FIND_IN(lib, name) complete &= find(av->library[lib], #name, &av->name);
#define FIND_UTIL(name) FIND_IN(G4_LIBAV_UTIL_LIB, name)
#define FIND_SCALE(name) FIND_IN(G4_LIBAV_SCALE_LIB, name)
#define FIND_CODEC(name) FIND_IN(G4_LIBAV_CODEC_LIB, name)
#define FIND_FORMAT(name) FIND_IN(G4_LIBAV_FORMAT_LIB, name)
    G4_LIBAV_UTIL(FIND_UTIL)
    G4_LIBAV_SCALE(FIND_SCALE)
    G4_LIBAV_CODEC(FIND_CODEC)
    G4_LIBAV_FORMAT(FIND_FORMAT)
    if (!complete) {
        g4_libav_close(av);
        return g4_fail(err, G4_EINPUT, "%s: video files need all functions of %s and its"
                       " neighbours; one is missing", name, soname[G4_LIBAV_FORMAT_LIB]);
    }
    *out = av;
    return G4_OK;
}

void g4_libav_close(g4_libav *av)
{
    for (int i = G4_LIBAV_LIBS - 1; av && i >= 0; i--)
        if (av->library[i]) dlclose(av->library[i]);
    free(av);
}

#else

g4_status g4_libav_open(g4_libav **out, const char *name, g4_err *err)
{
    *out = NULL;
    return g4_fail(err, G4_EINPUT,
                   "%s: video files need libav, which is not built in: install libavformat-dev,"
                   " libavcodec-dev, libavutil-dev and libswscale-dev and build again, or give a"
                   " folder of PNG frames", name);
}

void g4_libav_close(g4_libav *av)
{
    (void)av;
}

#endif
