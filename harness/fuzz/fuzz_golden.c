/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a golden file, read as a stranger's is: in a confined child.
 * libhdf5 does crash there on some inputs; what is tested is that such a child
 * is only ever an error, and that what passes the checks is sane. */
#include "golden/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_VALUES = 1 << 24 };

static void use(g4_golden *g, g4_err *err)
{
    g4_prompt p;
    g4_arena arena = { NULL };
    for (size_t i = 0; i < g4_golden_count(g); i++) {
        const g4_golden_set *s = g4_golden_at(g, i);
        int64_t n = g4_golden_values(s);
        if (n < 1 || g4_golden_rows(s) * g4_golden_cols(s) != n) abort();
        if (n > MAX_VALUES) continue;
        void *out = malloc((size_t)n * g4_golden_size(s->type));
        if (out) (void)!g4_golden_read(g, s, out, err);
        free(out);
    }
    if (g4_golden_prompt(g, &p, &arena, err) == G4_OK)
        for (int64_t t = 0; t < p.n; t++)
            if (p.types[t] < G4_TEXT || p.types[t] > G4_AUDIO || p.positions[t] < 0) abort();
    g4_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[40];
    g4_golden *g;
    g4_err err = { G4_OK, "" };
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0) return 0;
    if (write(fd, data, size) == (ssize_t)size) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (g4_golden_open(&g, path, 0, &err) == G4_OK) {
            use(g, &err);
            g4_golden_close(g);
        } else if (err.msg[0] == 0) {
            abort();   /* an error must say something */
        }
    }
    close(fd);
    return 0;
}
