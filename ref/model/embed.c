/* SPDX-License-Identifier: Apache-2.0
 * Tokens, pixels and sound to rows of D.  Text: Gemma4TextScaledWordEmbedding.
 * Images: Gemma4UnifiedVisionEmbedder, raw patches straight into the decoder's
 * space: LN - Dense - LN - + position - LN - RMSNorm - Linear.  Sound:
 * RMSNorm - Linear over 640 raw samples.  Soft tokens are not scaled by sqrt(D). */
#include "ref/model/embed.h"

#include "ref/dtype/dtype.h"
#include "ref/model/session.h"


void g4_embed_token(const g4_model *m, float *y, int32_t id)
{
    int64_t D = m->config.hidden_size;
    float scale = (float)__builtin_sqrt((double)D);
    g4_dtype_get(m->embed_tokens.dtype)->unpack(y, g4_mat_row(&m->embed_tokens, id), D);
    for (int64_t i = 0; i < D; i++) y[i] *= scale;
}

/* y [n] += the position embedding of (x, y); padding patches have none. */
static void add_position(const g4_model *m, float *y, const int32_t *xy, float *row_x,
                         float *row_y)
{
    const g4_mat *table = &m->pos_embedding;
    if (xy[0] < 0 || xy[1] < 0) return;
    const g4_dtype_info *info = g4_dtype_get(table->dtype);
    info->unpack(row_x, g4_mat_row(table, 2 * (int64_t)xy[0]), table->cols);
    info->unpack(row_y, g4_mat_row(table, 2 * (int64_t)xy[1] + 1), table->cols);
    for (int64_t i = 0; i < table->cols; i++)
        y[i] = (float)((double)y[i] + ((double)row_x[i] + (double)row_y[i]));
}

/* Buffers for n patches: a, P wide; b, E wide; two position rows.  And who watches. */
typedef struct vision_work {
    const g4_tap *tap;
    float *a, *b, *row_x, *row_y;
} vision_work;

static void watch(const g4_tap *tap, g4_tap_id id, int64_t row, int64_t rows, int64_t cols,
                  const float *data)
{
    const g4_tap_at at = { .id = id, .row = row, .rows = rows, .cols = cols };
    g4_observe(tap, &at, data);
}

/* n patches (padding included) -> soft [n][D].  row: their first row in the taps. */
static void vision_forward(g4_engine *e, float *soft, const float *pixels, const int32_t *xy,
                           int64_t n, int64_t row, const vision_work *w)
{
    const g4_model *m = e->model;
    int64_t P = m->patch_dense.cols, E = m->patch_dense.rows, D = m->config.hidden_size;

    g4_layernorm(e, w->a, pixels, m->patch_ln1_weight, m->patch_ln1_bias, n, P);
    watch(w->tap, G4_TAP_patch_ln1, row, n, P, w->a);
    g4_linear64(e, w->b, w->a, n, &m->patch_dense);
    for (int64_t i = 0; i < n; i++)
        g4_add_scale(e, w->b + i * E, w->b + i * E, m->patch_dense_bias, E, 1.0);
    watch(w->tap, G4_TAP_patch_dense, row, n, E, w->b);
    g4_layernorm(e, w->b, w->b, m->patch_ln2_weight, m->patch_ln2_bias, n, E);
    watch(w->tap, G4_TAP_patch_ln2, row, n, E, w->b);
    for (int64_t i = 0; i < n; i++) add_position(m, w->b + i * E, xy + 2 * i, w->row_x, w->row_y);
    g4_layernorm(e, w->b, w->b, m->pos_norm_weight, m->pos_norm_bias, n, E);
    watch(w->tap, G4_TAP_pos_norm, row, n, E, w->b);
    g4_rmsnorm(e, w->b, w->b, NULL, n, E, m->config.vision_eps);
    g4_linear64(e, soft, w->b, n, &m->vision_projection);
    watch(w->tap, G4_TAP_vision_soft_tokens, row, n, D, soft);
}

/* All images (or frames) -> their real soft tokens, in order, into soft->rows of
 * the tokens of this type.  row: first row in the taps. */
static g4_status embed_patches(g4_soft *soft, g4_engine *e, const g4_prompt *p, const g4_tap *tap,
                               const g4_patches *patches, int8_t type, int64_t row, g4_err *err)
{
    int64_t B = patches->budget, D = e->model->config.hidden_size, at = 0;
    if (patches->count == 0) return G4_OK;
    int64_t P = e->model->patch_dense.cols, E = e->model->patch_dense.rows;
    size_t tokens;
    float *out = NULL;
    if (!__builtin_mul_overflow((size_t)patches->count, (size_t)(B * D), &tokens))
        out = g4_arena_alloc(&soft->arena, tokens, sizeof *out);
    g4_arena work = { NULL };
    vision_work w = {
        tap,
        g4_arena_alloc(&work, (size_t)(B * P), sizeof(float)),
        g4_arena_alloc(&work, (size_t)(B * E), sizeof(float)),
        g4_arena_alloc(&work, (size_t)E, sizeof(float)),
        g4_arena_alloc(&work, (size_t)E, sizeof(float)),
    };
    if (!out || !w.a || !w.b || !w.row_x || !w.row_y) {
        g4_arena_free(&work);
        return g4_nomem(err, "vision embedder");
    }
    for (int64_t i = 0; i < patches->count; i++) {
        const int32_t *xy = patches->positions + i * B * 2;
        float *rows = out + i * B * D;
        vision_forward(e, rows, patches->pixels + i * B * P, xy, B, row + i * B, &w);
        for (int64_t k = 0; k < B; k++) {
            if (xy[2 * k] < 0) continue;
            while (at < p->n && p->types[at] != type) at++;
            if (at < p->n) soft->rows[at++] = rows + k * D;
        }
    }
    g4_arena_free(&work);
    return G4_OK;
}

static g4_status embed_audio(g4_soft *soft, g4_engine *e, const g4_prompt *p, const g4_tap *tap,
                             g4_err *err)
{
    const g4_model *m = e->model;
    int64_t frames = p->clips * p->clip_frames, A = p->frame, D = m->config.hidden_size, at = 0;
    if (frames == 0) return G4_OK;
    float *out = g4_arena_alloc(&soft->arena, (size_t)frames, (size_t)D * sizeof *out);
    g4_arena work = { NULL };
    float *normed = g4_arena_alloc(&work, (size_t)frames, (size_t)A * sizeof *normed);
    if (!out || !normed) {
        g4_arena_free(&work);
        return g4_nomem(err, "audio embedder");
    }
    g4_rmsnorm(e, normed, p->input_features, NULL, frames, A, m->config.audio_eps);
    g4_linear64(e, out, normed, frames, &m->audio_projection);
    watch(tap, G4_TAP_audio_soft_tokens, 0, frames, D, out);
    g4_arena_free(&work);
    for (int64_t i = 0; i < frames; i++) {
        if (!p->input_features_mask[i]) continue;
        while (at < p->n && p->types[at] != G4_AUDIO) at++;
        if (at < p->n) soft->rows[at++] = out + i * D;
    }
    return G4_OK;
}

static g4_status embed_all(g4_soft *soft, g4_engine *e, const g4_prompt *p, const g4_tap *tap,
                           g4_err *err)
{
    const g4_config *c = &e->model->config;
    const char *dir = e->model->dir;
    if ((p->images.count || p->frames.count) && !c->patch_size)
        return g4_fail(err, G4_EINPUT, "%s: has no vision_config, the request has images", dir);
    if (p->clips && !c->audio_embed_dim)
        return g4_fail(err, G4_EINPUT, "%s: has no audio_config, the request has sound", dir);
    G4_TRY(g4_prompt_check(p, "request", c->vocab_size, c->mm_posemb_size,
                           c->patch_size ? g4_patch_values(c) : 0, c->audio_embed_dim, err));
    soft->rows = g4_arena_alloc(&soft->arena, (size_t)p->n, sizeof *soft->rows);
    if (!soft->rows) return g4_nomem(err, "soft tokens");
    G4_TRY(embed_patches(soft, e, p, tap, &p->images, G4_IMAGE, 0, err));
    G4_TRY(embed_patches(soft, e, p, tap, &p->frames, G4_VIDEO,
                         p->images.count * p->images.budget, err));
    return embed_audio(soft, e, p, tap, err);
}

g4_status g4_soft_embed(g4_soft *soft, g4_engine *e, const g4_prompt *p, const g4_tap *tap,
                        g4_err *err)
{
    *soft = (g4_soft){ 0 };
    g4_status s = embed_all(soft, e, p, tap, err);
    if (s != G4_OK) g4_soft_free(soft);
    return s;
}

void g4_soft_free(g4_soft *soft)
{
    g4_arena_free(&soft->arena);
    soft->rows = NULL;
}
