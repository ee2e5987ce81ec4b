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
    p->curve[0] = 1.0 - ROW;
    p->curve[1] = ROW;
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

/* e^x to 3 %, x in [-16, 0]: a line in the exponent's bits (Schraudolph 1999). */
static float rough_exp(float x)
{
    const union { int32_t i; float f; } u = { (int32_t)(12102203.0f * x) + 1064866805 };
    return u.f;
}

double g4_pace_confidence(const float *logits, int64_t vocab, int32_t id)
{
    enum { LANES = 8 };   /* sums side by side: a draft must not wait for this */
    float sum[LANES] = { 0.0f }, top = logits[id];
    int64_t i = 0;
    for (; i + LANES <= vocab; i += LANES)
        for (int k = 0; k < LANES; k++) {
            float x = logits[i + k] - top;
            sum[k] += x > -16.0f ? rough_exp(x < 0.0f ? x : 0.0f) : 0.0f;
        }
    for (; i < vocab; i++)
        if (logits[i] - top > -16.0f) sum[0] += rough_exp(logits[i] < top ? logits[i] - top : 0.0f);
    double all = 0.0;
    for (int k = 0; k < LANES; k++) all += (double)sum[k];
    return all > 1.0 ? 1.0 / all : 1.0;
}

static int bin_of(double confidence)
{
    int bin = (int)(confidence * G4_PACE_BINS);
    return bin < 0 ? 0 : bin >= G4_PACE_BINS ? G4_PACE_BINS - 1 : bin;
}

static double cost_of(const g4_pace *p, double rows)
{
    return p->curve[0] + rows * (p->curve[1] + rows * p->curve[2]);
}

int g4_pace_more(const g4_pace *p, int64_t drafted)
{
    if (drafted >= G4_PACE_POSITIONS) return 0;
    if (drafted == 0 && p->idle >= IDLE) return 1;
    double next = share(&p->at[drafted], share(&p->all, 0.5)), rows = (double)(drafted + 1);
    double row = cost_of(p, rows + 1.0) - cost_of(p, rows);
    return p->reach * next > p->tokens / p->cost * (p->draft + (row > 0.0 ? row : 0.0));
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

static void observe(double sum[8], double n, double t)
{
    const double x[8] = { 1.0, n, n * n, n * n * n, n * n * n * n, t, n * t, n * n * t };
    for (int i = 0; i < 8; i++) sum[i] += x[i];
}

/* The parabola of least squares, by elimination; the assumed points keep it determined. */
static void fit(g4_pace *p)
{
    double a[3][4];
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 4; c++) {
            int at = c < 3 ? r + c : 5 + r;
            a[r][c] = p->sum[at] + p->assumed[at];
        }
    for (int r = 0; r < 3; r++)
        for (int k = r + 1; k < 3; k++) {
            double f = a[k][r] / a[r][r];
            for (int c = r; c < 4; c++) a[k][c] -= f * a[r][c];
        }
    for (int r = 2; r >= 0; r--) {
        double x = a[r][3];
        for (int c = r + 1; c < 3; c++) x -= a[r][c] * p->curve[c];
        p->curve[r] = x / a[r][r];
    }
}

/* The first measurement tells only how long a step is: the line that was assumed goes in at
 * that scale.  One that took thrice what was expected met something else on the machine. */
static void measure(g4_pace *p, double rows, const g4_pace_round *r)
{
    double t = r->verify_s, expected = cost_of(p, rows);
    if (p->assumed[0] == 0.0) {
        double scale = t / expected;
        for (int n = 1; n <= 9; n += 4) observe(p->assumed, n, scale * cost_of(p, n));
        p->draft *= scale;
        p->cost *= scale;
        expected = t;
    }
    fade(p->sum, 8);
    observe(p->sum, rows, expected > 0.0 && t > 3.0 * expected ? 3.0 * expected : t);
    fit(p);
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
    p->cost = p->cost * FADE + (double)r->k * p->draft + cost_of(p, rows);
}
