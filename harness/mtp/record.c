/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/mtp/mtp.h"

#include <math.h>
#include <stdlib.h>

void *g4_mtp_grow(void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room) return array;
    size_t more = *room ? *room * 2 : 256;
    void *p = more > SIZE_MAX / size ? NULL : realloc(array, more * size);
    if (p) *room = more;
    return p;
}

g4_mtp_round *g4_mtp_add_round(g4_mtp_study *s)
{
    void *p = g4_mtp_grow(s->rounds, s->round_count, &s->round_room, sizeof *s->rounds);
    if (!p) return NULL;
    s->rounds = p;
    s->rounds[s->round_count] = (g4_mtp_round){ .first = s->place_count };
    return &s->rounds[s->round_count++];
}

g4_mtp_place *g4_mtp_add_place(g4_mtp_study *s)
{
    void *p = g4_mtp_grow(s->places, s->place_count, &s->place_room, sizeof *s->places);
    if (!p) return NULL;
    s->places = p;
    return &s->places[s->place_count++];
}

int g4_mtp_add_id(g4_mtp_study *s, int32_t id)
{
    void *p = g4_mtp_grow(s->ids, s->id_count, &s->id_room, sizeof *s->ids);
    if (!p) return 0;
    s->ids = p;
    s->ids[s->id_count++] = id;
    return 1;
}

g4_status g4_mtp_meter_open(g4_mtp_meter *m, const g4_mtp_study *s, g4_arena *arena, g4_err *err)
{
    const g4_sampler plain = { .temperature = 1.0, .top_p = 1.0 };
    m->vocab = s->rt.model->config.vocab_size;
    m->softmax = s->opt.sampler.temperature <= 0.0;
    m->target = s->opt.sampler;
    m->draft = s->opt.way == G4_DRAFT_OURS ? s->opt.sampler : plain;
    G4_TRY(g4_dist_init(&m->p, m->vocab, arena, err));
    return g4_dist_init(&m->q, m->vocab, arena, err);
}

/* d->dense = softmax of the logits, no filters, nothing sorted. */
static void softmax(g4_dist *d, const float *logits, int64_t n)
{
    double top = (double)logits[0], sum = 0.0;
    for (int64_t i = 1; i < n; i++)
        if ((double)logits[i] > top) top = (double)logits[i];
    for (int64_t i = 0; i < n; i++) sum += d->dense[i] = exp((double)logits[i] - top);
    for (int64_t i = 0; i < n; i++) d->dense[i] /= sum;
}

g4_mtp_place g4_mtp_measure(g4_mtp_meter *m, const float *target, const float *draft, int32_t id)
{
    if (m->softmax) softmax(&m->p, target, m->vocab);
    else g4_dist_fill(&m->p, &m->target, target, m->vocab);
    if (m->softmax) softmax(&m->q, draft, m->vocab);
    else g4_dist_fill(&m->q, &m->draft, draft, m->vocab);
    const double *p = m->p.dense, *q = m->q.dense;
    double tv = 0.0, entropy = 0.0;
    for (int64_t k = 0; k < m->vocab; k++) {
        tv += fabs(p[k] - q[k]);
        if (p[k] > 0.0) entropy -= p[k] * log(p[k]);
    }
    return (g4_mtp_place){ .id = id, .draft_p = q[id], .target_p = p[id], .tv = 0.5 * tv,
                           .entropy = entropy > 0.0 ? entropy : 0.0 };
}
