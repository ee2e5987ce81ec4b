/* SPDX-License-Identifier: Apache-2.0 */
#include "ref/model/pace.h"

#include <string.h>

/* A row more of a verification, in steps of the backbone, where nothing was measured: weights
 * are read once for all rows, and up to 8 of them took 1.1 times the time of one. */
static const double ROW = 0.02;
/* Rounds fade with this factor: about the last 50 count. */
static const double FADE = 0.98;
/* So many observations does what is assumed beforehand weigh. */
static const double PRIOR = 4.0;
/* After so many rounds without a draft one is made all the same: text changes. */
enum { IDLE = 32 };

static double mat_bytes(const g4_mat *m)
{
    return m->data ? (double)m->rows * (double)m->row_bytes : 0.0;
}

/* What a step reads. */
static double step_bytes(const g4_model *m)
{
    double sum = mat_bytes(&m->embed_tokens) + mat_bytes(&m->pre_projection) +
                 mat_bytes(&m->post_projection);
    for (int64_t l = 0; l < m->config.num_hidden_layers; l++) {
        const g4_layer *w = &m->layers[l];
        const g4_mat *all[] = { &w->q_proj, &w->k_proj, &w->v_proj, &w->o_proj, &w->gate_proj,
                                &w->up_proj, &w->down_proj };
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) sum += mat_bytes(all[i]);
    }
    return sum;
}

void g4_pace_init(g4_pace *p, const g4_model *backbone, const g4_model *drafter, int clock)
{
    memset(p, 0, sizeof *p);
    p->draft = step_bytes(drafter) / step_bytes(backbone);
    p->base = 1.0 - ROW;
    p->slope = ROW;
    p->clock = clock;
    p->tokens = p->cost = PRIOR;   /* as without a drafter */
}

void g4_pace_begin(g4_pace *p)
{
    p->reach = 1.0;
}

/* kept / tried, where so many observations weigh as much as `before`. */
static double share(const g4_pace_count *c, double before)
{
    return (c->kept + PRIOR * before) / (c->tried + PRIOR);
}

static int bin_of(double confidence)
{
    int bin = (int)(confidence * G4_PACE_BINS);
    return bin < 0 ? 0 : bin >= G4_PACE_BINS ? G4_PACE_BINS - 1 : bin;
}

int g4_pace_more(const g4_pace *p, int64_t drafted)
{
    if (drafted >= G4_PACE_POSITIONS) return 0;
    if (drafted == 0 && p->idle >= IDLE) return 1;
    double next = share(&p->at[drafted], share(&p->all, 0.5));
    return p->reach * next > p->tokens / p->cost * (p->draft + p->slope);
}

void g4_pace_drafted(g4_pace *p, double confidence)
{
    int bin = bin_of(confidence);
    p->reach *= share(&p->by_confidence[bin], (bin + 0.5) / G4_PACE_BINS);
}

static void count(g4_pace_count *c, int kept)
{
    c->tried += 1.0;
    c->kept += kept;
}

static void fade(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= FADE;
}

static void observe(g4_pace *p, double rows, double t)
{
    const double one[5] = { 1.0, rows, rows * rows, t, rows * t };
    for (int i = 0; i < 5; i++) p->sum[i] += one[i];
}

/* Least squares through what verifications took.  The first one tells only how long a step
 * is: the line that was assumed goes in at that scale, as two observations. */
static void measure(g4_pace *p, double rows, const g4_pace_round *r)
{
    if (p->sum[0] == 0.0) {
        double scale = r->verify_s / (p->base + p->slope * rows);
        observe(p, 1.0, scale * (p->base + p->slope));
        observe(p, 9.0, scale * (p->base + 9.0 * p->slope));
        p->draft *= scale;
        p->cost *= scale;
    }
    fade(p->sum, 5);
    observe(p, rows, r->verify_s);
    const double *s = p->sum;
    double det = s[0] * s[2] - s[1] * s[1];
    p->slope = det > 0.0 ? (s[0] * s[4] - s[1] * s[3]) / det : 0.0;
    if (p->slope < 0.0) p->slope = 0.0;
    p->base = (s[3] - p->slope * s[1]) / s[0];
    if (p->base < 0.0) p->base = 0.0;
    if (r->k > 0) p->draft += 0.1 * (r->draft_s / (double)r->k - p->draft);
}

void g4_pace_learn(g4_pace *p, const g4_pace_round *r)
{
    double rows = (double)(r->k + 1);
    if (p->clock && r->verify_s > 0.0) measure(p, rows, r);
    fade(&p->by_confidence[0].kept, 2 * G4_PACE_BINS);
    fade(&p->at[0].kept, 2 * G4_PACE_POSITIONS);
    fade(&p->all.kept, 2);
    for (int64_t i = 0; i < r->k && i <= r->matched && i < G4_PACE_POSITIONS; i++) {
        int kept = i < r->matched;
        count(&p->by_confidence[bin_of(r->confidence[i])], kept);
        count(&p->at[i], kept);
        count(&p->all, kept);
    }
    p->idle = r->k ? 0 : p->idle + 1;
    p->tokens = p->tokens * FADE + (double)(r->matched + 1);
    p->cost = p->cost * FADE + (double)r->k * p->draft + p->base + p->slope * rows;
}
