/* SPDX-License-Identifier: Apache-2.0
 * The one copy of the weights that fast kernels read: matrices go from the mapped file
 * into one region, in the order in which a token meets them, and their file pages are
 * let go at once, so that never more than one matrix is in memory twice. */
#include "ref/base/map.h"
#include "ref/model/ops.h"
#include "ref/model/weights.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { LAYER_MATRICES = 7, HUGE_PAGE = 2 << 20, GRAIN = 64 };

/* Matrix i of the model: the layers' in order, then what stands outside; NULL past the last. */
static g4_mat *matrix_at(g4_model *m, int64_t i)
{
    int64_t l = i / LAYER_MATRICES, layers = m->config.num_hidden_layers;
    if (l >= layers) {
        g4_mat *const outside[] = { &m->embed_tokens, &m->pre_projection, &m->post_projection };
        i -= layers * LAYER_MATRICES;
        return i < (int64_t)(sizeof outside / sizeof *outside) ? outside[i] : NULL;
    }
    g4_layer *w = &m->layers[l];
    g4_mat *const in_order[LAYER_MATRICES] = { &w->q_proj, &w->k_proj, &w->v_proj, &w->o_proj,
                                               &w->gate_proj, &w->up_proj, &w->down_proj };
    return in_order[i % LAYER_MATRICES];
}

/* Bytes, rounded up to a cache line; 0: stays as it is. */
static size_t size_of(const g4_mat *w, const g4_ops *ops)
{
    if (!w->data || !ops->panel_bytes) return 0;
    return ((size_t)ops->panel_bytes(w) + 63) / 64 * 64;
}

uint64_t g4_model_pack_bytes(const g4_model *m, const g4_ops *ops, uint64_t *file)
{
    uint64_t total = 0, let_go = 0;
    const g4_mat *w;
    for (int64_t i = 0; (w = matrix_at((g4_model *)m, i)); i++) {
        size_t size = size_of(w, ops);
        total += size;
        if (size) let_go += (uint64_t)w->rows * w->row_bytes;
    }
    if (file) *file = let_go;
    return total;
}

typedef struct pack_job {
    const g4_ops *ops;
    const g4_mat *w;
    unsigned char *out;
} pack_job;

static void pack_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const pack_job *j = ctx;
    (void)worker;
    j->ops->panel_pack(j->out, j->w, begin, end);
}

g4_status g4_model_pack(g4_model *m, const g4_ops *ops, g4_par *par, g4_err *err)
{
    uint64_t total = g4_model_pack_bytes(m, ops, NULL);
    g4_mat *w;
    if (m->panels || total == 0) return G4_OK;
    if (total > SIZE_MAX || posix_memalign(&m->panels, HUGE_PAGE, (size_t)total) != 0) {
        m->panels = NULL;
        return g4_nomem(err, m->dir);
    }
    (void)madvise(m->panels, (size_t)total, MADV_HUGEPAGE);   /* a wish: a kernel may lack them */
    unsigned char *at = m->panels;
    for (int64_t i = 0; (w = matrix_at(m, i)); i++) {
        size_t size = size_of(w, ops);
        if (size == 0) continue;
        pack_job j = { ops, w, at };
        g4_map_prefetch(w->data, (size_t)w->rows * w->row_bytes);
        g4_par_for(par, w->rows, GRAIN, pack_piece, &j);
        g4_map_release(w->data, (size_t)w->rows * w->row_bytes);
        w->panels = at;
        at += size;
    }
    return G4_OK;
}
