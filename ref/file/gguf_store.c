/* SPDX-License-Identifier: Apache-2.0
 * A GGUF's tensors under the names, and with their values in the order, of the folder it was
 * made from.  Only the few that the converter reorders are copied. */
#include "ref/file/gguf_names.h"
#include "ref/file/store_parts.h"

#include "ref/dtype/dtype.h"

#include <stdio.h>
#include <string.h>

static g4_status bad_shape(const g4_tensor *t, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: tensor %s has not the shape of its name", t->file,
                   t->name);
}

/* [rows][colour, row, column] -> [rows][row, column, colour]; packed rows become float32. */
static g4_status unpatch(g4_store *s, g4_tensor *t, g4_err *err)
{
    int64_t cols = t->shape[t->rank - 1], rows = t->rank == 2 ? t->shape[0] : 1, side = 1;
    while (side * side * 3 < cols) side++;
    if (t->rank > 2 || cols > INT32_MAX || side * side * 3 != cols) return bad_shape(t, err);
    const g4_dtype_info *info = g4_dtype_get(t->dtype);
    g4_dtype to = info->block == 1 ? t->dtype : G4_F32;
    size_t width = g4_dtype_get(to)->bytes, from_row = g4_dtype_row_bytes(t->dtype, cols);
    uint8_t *data = g4_arena_alloc(&s->arena, (size_t)rows, (size_t)cols * width);
    float *row = g4_arena_alloc(&s->arena, (size_t)cols, sizeof *row);
    if (!data || !row) return g4_nomem(err, t->name);
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *from = t->data + (size_t)r * from_row;
        if (to != t->dtype) {
            info->unpack(row, from, cols);
            from = (const uint8_t *)row;
        }
        for (int64_t i = 0; i < cols; i++)
            memcpy(data + (size_t)(r * cols + g4_gguf_patch_place(i, side)) * width,
                   from + (size_t)i * width, width);
    }
    t->data = data;
    t->dtype = to;
    t->type_name = g4_dtype_get(to)->name;
    t->bytes = (size_t)(rows * cols) * width;
    return G4_OK;
}

/* [2][n][cols] -> [n][2][cols] */
static g4_status unswap(g4_store *s, g4_tensor *t, g4_err *err)
{
    if (t->rank != 3 || t->shape[0] != 2) return bad_shape(t, err);
    int64_t n = t->shape[1];
    size_t row = g4_dtype_row_bytes(t->dtype, t->shape[2]);
    uint8_t *data = g4_arena_alloc(&s->arena, (size_t)n, 2 * row);
    if (!data) return g4_nomem(err, t->name);
    for (int64_t i = 0; i < 2 * n; i++)
        memcpy(data + (size_t)i * row, t->data + (size_t)(i % 2 * n + i / 2) * row, row);
    t->data = data;
    t->shape[0] = n;
    t->shape[1] = 2;
    return G4_OK;
}

static g4_status push(g4_store *s, const g4_tensor *from, int drafter, g4_err *err)
{
    char name[G4_TENSOR_NAME];
    g4_gguf_change change = G4_GGUF_SAME;
    g4_tensor t = *from;
    if (strcmp(t.name, "rope_freqs.weight") == 0) return G4_OK;   /* the config's: gguf_config.c */
    if (g4_gguf_to_hf(name, t.name, drafter, &change)) {
        if (change == G4_GGUF_PATCH) G4_TRY(unpatch(s, &t, err));
        if (change == G4_GGUF_SWAP) G4_TRY(unswap(s, &t, err));
        t.name = g4_arena_strndup(&s->arena, name, strlen(name));
        if (!t.name) return g4_nomem(err, t.file);
    }
    return g4_store_push(s, &t, err);
}

/* Converters leave layer_scalar out where the checkpoint has none: it is 1 then. */
static g4_status push_scalars(g4_store *s, const g4_gguf *g, int drafter, g4_err *err)
{
    static const float one = 1.0f;
    char name[G4_TENSOR_NAME];
    for (int64_t l = 0;; l++) {
        snprintf(name, sizeof name, "blk.%lld.attn_norm.weight", (long long)l);
        if (!g4_gguf_tensor(g, name)) return G4_OK;
        snprintf(name, sizeof name, "blk.%lld.layer_output_scale.weight", (long long)l);
        if (g4_gguf_tensor(g, name)) continue;
        g4_tensor t = { .name = name, .file = g4_gguf_file(g), .type_name = "f32",
                        .type = G4_ST_DTYPE, .dtype = G4_F32, .rank = 1, .shape = { 1 },
                        .data = (const uint8_t *)&one, .bytes = sizeof one };
        G4_TRY(push(s, &t, drafter, err));
    }
}

g4_status g4_gguf_push_tensors(g4_store *s, const g4_gguf *g, g4_err *err)
{
    g4_gguf_kind kind;
    G4_TRY(g4_gguf_kind_of(g, &kind, err));
    int drafter = kind == G4_GGUF_DRAFTER;
    for (size_t i = 0; i < g4_gguf_tensors(g); i++)
        G4_TRY(push(s, g4_gguf_tensor_at(g, i), drafter, err));
    return push_scalars(s, g, drafter, err);
}
