/* SPDX-License-Identifier: Apache-2.0
 * gemma4 synth: a random checkpoint of a given shape (harness/synth.h). */
#include "harness/options.h"
#include "harness/synth.h"
#include "harness/text.h"

#include <time.h>

int cmd_synth(const g4_options *o, g4_err *err)
{
    g4_synth s = {
        .shape = o->shape, .type = o->type, .seed = o->seed, .out = o->out,
        .threads = (int)o->threads, .progress = stderr,
    };
    g4_synth_result r;
    struct timespec a, b;
    char path[512], bytes[32];
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (g4_synth_write(&s, &r, err) != G4_OK) return 2;
    clock_gettime(CLOCK_MONOTONIC, &b);
    double t = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    printf("%s: %zu tensors, %.3f million parameters%s, %s in %.1f s\n",
           g4_text_safe(path, sizeof path, o->out), r.tensors, (double)r.parameters * 1e-6,
           r.drafter ? " (with its drafter)" : "", g4_text_bytes(bytes, sizeof bytes, r.bytes), t);
    return 0;
}
