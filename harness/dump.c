/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/dump.h"

#include "harness/greedy.h"
#include "kernels_opt/cpu.h"
#include "ref/dtype/dtype.h"

#include <stdlib.h>
#include <string.h>

static const char *const details[] = { "all", "layer", "output", "mtp", "generate" };

g4_status g4_dump_detail_parse(g4_dump_detail *d, const char *name, g4_err *err)
{
    *d = G4_DUMP_ALL;
    for (int i = 0; name && i < 5; i++)
        if (strcmp(name, details[i]) == 0) {
            *d = (g4_dump_detail)i;
            return G4_OK;
        }
    if (!name) return G4_OK;
    return g4_fail(err, G4_EINPUT, "--detail %s: known are all, layer, output, mtp, generate",
                   name);
}

/* ---- which activations, in which shape ---- */

static int is_shared_kv(g4_tap_id id)
{
    return id >= G4_TAP_sliding_key && id <= G4_TAP_full_value;
}

static int wanted(const g4_dump *d, const g4_tap_at *at)
{
    int is_mtp = at->id >= G4_TAP_mtp_inputs_embeds;
    if (d->detail == G4_DUMP_GENERATE) return 0;
    if (d->detail == G4_DUMP_MTP) return is_mtp || is_shared_kv(at->id);
    if (is_mtp || is_shared_kv(at->id)) return 0;
    int inside = at->id > G4_TAP_embeddings && at->id < G4_TAP_output;
    if (d->detail == G4_DUMP_ALL) return 1;
    if (at->id >= G4_TAP_patch_ln1 && at->id <= G4_TAP_pos_norm) return 0;
    if (!inside) return 1;
    int64_t last = d->rt->model->config.num_hidden_layers - 1;
    return d->detail == G4_DUMP_LAYER && (at->layer == 0 || at->layer == last);
}

/* Dims as stored; returns the rank. */
static int dims_of(const g4_dump *d, const g4_tap_at *at, int64_t dims[G4_GOLDEN_RANK])
{
    const g4_config *c = &d->rt->model->config;
    const g4_prompt *p = &d->asked.prompt;
    int kind = at->id < G4_TAP_norm ? c->layer_kind[at->layer] : G4_SLIDING;
    int64_t T = p->n;
    dims[0] = T;
    dims[1] = at->cols;
    switch (at->id) {
    case G4_TAP_q_norm: case G4_TAP_k_norm: case G4_TAP_v_norm:
        dims[1] = at->cols / c->head_dim[kind];
        dims[2] = c->head_dim[kind];
        return 3;
    case G4_TAP_patch_ln1: case G4_TAP_patch_dense: case G4_TAP_patch_ln2: case G4_TAP_pos_norm:
    case G4_TAP_vision_soft_tokens:
        dims[0] = p->images.count * p->images.budget + p->frames.count * p->frames.budget;
        return 2;
    case G4_TAP_audio_soft_tokens:
        dims[0] = p->clips;
        dims[1] = p->clip_frames;
        dims[2] = at->cols;
        return 3;
    case G4_TAP_full_key: case G4_TAP_full_value:
        kind = G4_FULL;
        /* fall through */
    case G4_TAP_sliding_key: case G4_TAP_sliding_value:
        dims[0] = c->kv_heads[kind];
        dims[1] = T;
        dims[2] = c->head_dim[kind];
        return 3;
    case G4_TAP_mtp_inputs_embeds: case G4_TAP_mtp_output: case G4_TAP_mtp_hidden:
    case G4_TAP_mtp_logits:
        dims[0] = at->cols;
        return 1;
    default:
        return 2;
    }
}

void g4_dump_observe(void *ctx, const g4_tap_at *at, const float *data)
{
    g4_dump *d = ctx;
    char path[G4_GOLDEN_PATH] = "activations/";
    size_t skip = strlen(path);
    int64_t dims[G4_GOLDEN_RANK] = { 0 };
    int id;
    d->let_end(d->job);
    if (d->status != G4_OK || !wanted(d, at)) return;
    g4_tap_path(path + skip, sizeof path - skip, at->id, at->layer, at->step);
    int rank = dims_of(d, at, dims);
    d->status = g4_golden_declare(d->w, path, G4_GOLDEN_F32, rank, dims, &id, d->err);
    if (d->status == G4_OK)
        d->status = g4_golden_put(d->w, id, at->row, at->rows, data, d->err);
}

/* ---- what is not a tap ---- */

static g4_status put_mask(g4_dump *d, const char *path, int kind, const g4_span *blocks)
{
    int64_t T = d->asked.prompt.n, dims[2] = { T, T };
    int id;
    uint8_t *row = malloc((size_t)T);
    if (!row) return g4_nomem(d->err, path);
    g4_status s = g4_golden_declare(d->w, path, G4_GOLDEN_U8, 2, dims, &id, d->err);
    for (int64_t t = 0; s == G4_OK && t < T; t++) {
        g4_span keys = g4_visible(d->engine, kind, t, blocks[t]);
        memset(row, 0, (size_t)T);
        memset(row + keys.begin, 1, (size_t)(keys.end - keys.begin));
        s = g4_golden_put(d->w, id, t, 1, row, d->err);
    }
    free(row);
    return s;
}

static g4_status put_masks(g4_dump *d)
{
    const g4_prompt *p = &d->asked.prompt;
    g4_span *blocks = g4_arena_alloc(&d->arena, (size_t)p->n, sizeof *blocks);
    if (!blocks) return g4_nomem(d->err, "masks");
    g4_blocks(blocks, p->types, p->n);
    G4_TRY(put_mask(d, "activations/masks/sliding_attention", G4_SLIDING, blocks));
    return put_mask(d, "activations/masks/full_attention", G4_FULL, blocks);
}

static g4_status put_ids(g4_dump *d, const char *path, int rank, int64_t n, const int32_t *ids)
{
    return g4_golden_write(d->w, path, G4_GOLDEN_I32, rank, &n, ids, d->err);
}

static g4_status put_row(g4_dump *d, const char *path, int64_t n, const float *row)
{
    return g4_golden_write(d->w, path, G4_GOLDEN_F32, 1, &n, row, d->err);
}

static g4_status put_drafts(g4_dump *d)
{
    const g4_config *c = &d->rt->model->config;
    int32_t last = g4_likeliest(d->logits, c->vocab_size), ids[G4_MAX_DRAFT];
    int32_t position = d->session->next_position;
    G4_TRY(put_ids(d, "inputs/next_token", 0, 1, &last));
    G4_TRY(put_ids(d, "inputs/position_id", 0, 1, &position));
    G4_TRY(put_row(d, "activations/hidden_last", c->hidden_size, d->hidden));
    G4_TRY(put_row(d, "activations/logits_last", c->vocab_size, d->logits));
    const g4_tap tap = { d, g4_dump_observe };
    d->drafter->tap = &tap;
    g4_draft_begin(d->drafter, d->session, d->hidden);
    for (int64_t i = 0; i < d->steps; i++) {
        g4_draft_step(d->drafter, d->session, last, i);
        ids[i] = last = g4_likeliest(d->drafter->logits, c->vocab_size);
    }
    d->drafter->tap = NULL;
    G4_TRY(d->status);
    return put_ids(d, "inputs/drafted", 1, d->steps, ids);
}

static g4_status put_text(g4_dump *d, const char *path, g4_drafter *drafter)
{
    int64_t n;
    int32_t *ids = g4_arena_alloc(&d->arena, (size_t)d->tokens, sizeof *ids);
    g4_greedy_run r = { .engine = d->engine, .session = d->session, .drafter = drafter,
                        .logits = d->logits, .hidden = d->hidden, .prompt = d->asked.prompt.n,
                        .tokens = d->tokens, .max_draft = d->steps, .each = d->let_end,
                        .ctx = d->job };
    if (!ids) return g4_nomem(d->err, path);
    G4_TRY(g4_greedy_text(&r, ids, &n, d->err));
    return put_ids(d, path, 1, n, ids);
}

/* ---- one file ---- */

g4_status g4_dump_begin(g4_dump *d)
{
    const g4_options *o = d->o;
    G4_TRY(g4_golden_create(&d->w, o->out, d->err));
    const char *name = d->asked.golden ? g4_golden_text(d->asked.golden, "case") : NULL;
    char isa[G4_ISA_TEXT];
    const char *producer = d->rt->plan.stream ? "gemma4, engine opt" : "gemma4, engine ref";
    G4_TRY(g4_golden_put_text(d->w, "producer", producer, d->err));
    G4_TRY(g4_golden_put_text(d->w, "case", name ? name : "request", d->err));
    G4_TRY(g4_golden_put_text(d->w, "dtype", "float32", d->err));
    G4_TRY(g4_golden_put_text(d->w, "detail", details[d->detail], d->err));
    G4_TRY(g4_golden_put_text(d->w, "mask", g4_mask_name(d->engine->plan.mask), d->err));
    G4_TRY(g4_golden_put_text(d->w, "isa", g4_isa_print(isa, d->rt->isas), d->err));
    G4_TRY(g4_golden_put_text(d->w, "kv", g4_dtype_get(d->rt->plan.kv)->name, d->err));
    if (o->bos) G4_TRY(g4_golden_put_text(d->w, "bos", o->bos, d->err));
    if (d->asked.text) {
        G4_TRY(g4_golden_put_text(d->w, "prompt", d->asked.text, d->err));
        G4_TRY(g4_golden_put_text(d->w, "media", d->asked.media, d->err));
    }
    const g4_prompt *p = &d->asked.prompt;
    if (p->audio) G4_TRY(g4_golden_put_text(d->w, "audio", p->audio, d->err));
    if (p->video) G4_TRY(g4_golden_put_text(d->w, "video", p->video, d->err));
    if (p->images.count)
        G4_TRY(g4_golden_put_int(d->w, "image_tokens", p->images.budget, d->err));
    return g4_golden_write_prompt(d->w, p, d->err);
}

g4_status g4_dump_finish(g4_dump *d)
{
    G4_TRY(d->status);
    if (d->detail <= G4_DUMP_OUTPUT) G4_TRY(put_masks(d));
    if (d->detail == G4_DUMP_MTP) G4_TRY(put_drafts(d));
    if (d->detail == G4_DUMP_GENERATE) {
        G4_TRY(put_text(d, "inputs/generated", NULL));
        if (d->drafter) G4_TRY(put_text(d, "inputs/assisted", d->drafter));
    }
    g4_golden_writer *w = d->w;
    d->w = NULL;
    return g4_golden_commit(w, d->err);
}

void g4_dump_close(g4_dump *d)
{
    g4_golden_abort(d->w);
    g4_drafter_close(d->drafter);
    g4_arena_free(&d->arena);
    g4_asked_close(&d->asked);
}
