/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/input/resample.h"

#include <soxr.h>
#include <stdlib.h>

struct g4_resampler {
    soxr_t soxr;
    const char *name;            /* for messages */
};

g4_status g4_resampler_open(g4_resampler **r, int64_t from, int64_t to, const char *name,
                            g4_err *err)
{
    soxr_error_t why = NULL;
    soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    soxr_runtime_spec_t one = soxr_runtime_spec(1);   /* thread */
    *r = malloc(sizeof **r);
    if (!*r) return g4_nomem(err, name);
    (*r)->name = name;
    (*r)->soxr = soxr_create((double)from, (double)to, 1, &why, &io, &quality, &one);
    if ((*r)->soxr && !why) return G4_OK;
    g4_resampler_close(*r);
    *r = NULL;
    return g4_fail(err, G4_EINPUT, "%s: cannot resample from %lld to %lld Hz: %s", name,
                   (long long)from, (long long)to, why ? why : "out of memory");
}

g4_status g4_resampler_run(g4_resampler *r, const float *in, size_t n, size_t *used, float *out,
                           size_t room, size_t *made, g4_err *err)
{
    size_t took = 0;
    soxr_error_t why = soxr_process(r->soxr, in, n, in ? &took : NULL, out, room, made);
    *used = took;
    if (!why) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: cannot resample: %s", r->name, why);
}

void g4_resampler_close(g4_resampler *r)
{
    if (!r) return;
    soxr_delete(r->soxr);
    free(r);
}

const char *g4_resampler_name(void)
{
    return soxr_version();
}

int64_t g4_resampled_count(int64_t n, int64_t from, int64_t to)
{
    double count = (double)n * (double)to / (double)from + 0.5;
    return count < 9e18 ? (int64_t)count : INT64_MAX;
}
