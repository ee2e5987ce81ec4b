/* SPDX-License-Identifier: Apache-2.0
 * Which slots a layer has, and the memory that a study will take, before it takes it: an
 * overnight run must not end at its third point. */
#include "harness/sensitivity/bench.h"
#include "harness/memory.h"
#include "harness/room.h"
#include "harness/text.h"
#include "ref/dtype/dtype.h"

#include <stdio.h>

static void max_into(int64_t *most, int64_t v)
{
    if (v > *most) *most = v;
}

/* Matrices [from, to) of a layer, of which the point rounds some; p NULL: a recipe of --budget,
 * which may round all of the text model.  Returns if it changes any. */
static int look_at(g4_sens_bench *b, const g4_sens_point *p, size_t from, size_t to)
{
    const g4_sens_slots *slots = &b->s->slots;
    int64_t sum = 0;
    int inputs = 0, weights = 0;
    for (size_t i = from; i < to; i++) {
        const g4_mat *m = &slots->list[i].mat;
        inputs |= p && p->input[i] >= 0;
        if (p ? p->weight[i] < 0 : !slots->list[i].text) continue;
        weights = 1;
        max_into(&b->most_rows, m->rows);
        if (i != slots->table && i != slots->head) sum += m->rows * m->cols;
    }
    b->rounds_inputs |= inputs;
    max_into(&b->layer_values, sum);
    return inputs || weights;
}

g4_status g4_sens_layout(g4_sens_bench *b, g4_err *err)
{
    const g4_sens_study *s = b->s;
    const g4_sens_slots *slots = &s->slots;
    int64_t L = s->candidate.config.num_hidden_layers;
    size_t i = 0, *from = g4_arena_alloc(&b->arena, (size_t)L + 4, sizeof *from);
    if (!from) return g4_nomem(err, "tensors");
    b->slot_from = from + 1;
    b->most_rows = s->data.rows;
    for (int64_t l = -1; l <= L + 1; l++) {
        b->slot_from[l] = i;
        for (; i < slots->count && slots->list[i].layer == l; i++)
            max_into(&b->most_cols, slots->list[i].mat.cols);
        if (s->o->budget) look_at(b, NULL, b->slot_from[l], i);
        for (size_t p = 0; p < s->points.count; p++)
            b->drafting |= look_at(b, &s->points.list[p], b->slot_from[l], i) && l == L + 1;
    }
    b->slot_from[L + 2] = i;
    return G4_OK;
}

/* ---- bytes ---- */

/* The embedding as the point with the largest one has it. */
static uint64_t table_bytes(const g4_sens_bench *b)
{
    const g4_sens_study *s = b->s;
    const g4_mat *m = &s->slots.list[s->slots.table].mat;
    uint64_t most = 0;
    for (size_t p = 0; p < s->points.count; p++)
        for (int k = 0; k < 2; k++) {
            int type = s->points.list[p].weight[k ? s->slots.head : s->slots.table];
            if (type < 0) continue;
            g4_dtype as = g4_sens_table_dtype(m, &s->types[type]);
            uint64_t bytes = (uint64_t)m->rows * g4_dtype_row_bytes(as, m->cols);
            if (bytes > most) most = bytes;
        }
    return most;
}

static uint64_t cache_bytes(const g4_sens_bench *b)
{
    const g4_config *c = &b->s->candidate.config;
    uint64_t rows = 0, width = 0;
    for (int i = 0; i < G4_SENS_LANES; i++) rows += (uint64_t)b->lane_rows[i];
    for (int kind = 0; kind < 2; kind++)
        width += 2 * (uint64_t)(c->kv_heads[kind] * c->head_dim[kind]) * sizeof(float);
    return rows * width;
}

static uint64_t drafter_bytes(const g4_sens_bench *b, const g4_engine_plan *plan)
{
    const g4_config *c = &b->s->draft.config;
    uint64_t D = (uint64_t)b->s->candidate.config.hidden_size;
    g4_engine_plan step = *plan;
    if (!b->drafting) return 0;
    step.rows = step.logit_rows = G4_SENS_STEP;
    return g4_engine_bytes(c, &step, &b->s->rt.ops, g4_par_threads(b->s->rt.par)) +
           G4_SENS_STEP * (3 * D + (uint64_t)c->vocab_size) * sizeof(float) +
           2 * (uint64_t)b->s->data.scored * sizeof(double);
}

/* Soft tokens of all documents stay; what embeds them works on one. */
static uint64_t media_bytes(const g4_sens_study *s)
{
    uint64_t all = 0, most = 0, work;
    for (size_t i = 0; i < s->data.count; i++) {
        all += g4_memory_soft(&s->candidate.config, &s->data.docs[i].prompt, &work);
        if (work > most) most = work;
    }
    return all + most;
}

/* Results stay, too, as jansson's values: an array is 130 bytes and 40 for each number in it, an
 * object with seven figures 2 KB (measured). */
static uint64_t result_bytes(const g4_sens_study *s)
{
    uint64_t L = (uint64_t)s->candidate.config.num_hidden_layers, left = 0;
    uint64_t domains = s->data.domains > 1 ? s->data.domains + 1 : 1;
    for (size_t i = 0; i < s->points.count; i++)
        left += !g4_sens_result(s, s->points.list[i].name);
    return left * (2048 + 2048 * domains + 210 * L + 40 * s->data.count);
}

static uint64_t recorded_bytes(const g4_sens_bench *b)
{
    const g4_config *c = &b->s->candidate.config;
    const g4_sens_data *d = &b->s->data;
    return sizeof(float) * ((uint64_t)(d->rows * (c->num_hidden_layers + 1)) *
                            (uint64_t)c->hidden_size + (uint64_t)c->vocab_size *
                            (uint64_t)(d->scored + (b->drafting ? d->drafted : 0)));
}

/* All but the rounded weights. */
static uint64_t work_bytes(const g4_sens_bench *b, const g4_engine_plan *plan)
{
    const g4_sens_study *s = b->s;
    const g4_config *c = &s->candidate.config;
    uint64_t threads = (uint64_t)g4_par_threads(s->rt.par), D = (uint64_t)c->hidden_size;
    uint64_t cols = (uint64_t)b->most_cols, inputs = (uint64_t)g4_sens_input_rows(b, plan);
    uint64_t rows = (uint64_t)(s->data.rows + plan->logit_rows);
    uint64_t own = sizeof(float) * (rows * D + inputs * cols + 2 * threads * cols) +
                   sizeof(double) * (4 * (uint64_t)b->most_rows + G4_SENS_PLACES * cols) +
                   (uint64_t)s->data.scored * (sizeof(g4_kl_token) + sizeof(int64_t)) +
                   threads * (uint64_t)c->vocab_size;
    return own + g4_engine_bytes(c, plan, &s->rt.ops, (int)threads) + cache_bytes(b) +
           drafter_bytes(b, plan) + media_bytes(s) + result_bytes(s) + g4_sens_recipe_bytes(s);
}

g4_status g4_sens_room_check(const g4_sens_bench *b, const g4_engine_plan *plan, g4_err *err)
{
    uint64_t rounded = sizeof(float) * (uint64_t)b->layer_values, table = table_bytes(b);
    uint64_t more = rounded + table + work_bytes(b, plan);
    char all[32], layer[32], embedding[32], disk[32], have[32];
    g4_text_bytes(all, sizeof all, g4_memory_now() + more);
    g4_text_bytes(layer, sizeof layer, rounded);
    g4_text_bytes(embedding, sizeof embedding, table);
    fprintf(stderr, "memory beside the mapped model %s, of that %s for a layer's rounded weights, "
            "%s for the embedding's; on disk while it runs %s\n", all, layer, embedding,
            g4_text_bytes(disk, sizeof disk, recorded_bytes(b)));
    const g4_room room = g4_room_now();
    if (more <= room.bytes) return G4_OK;
    return g4_fail(err, G4_ENOMEM, "sensitivity: takes %s, %s has %s", all, room.why,
                   g4_text_bytes(have, sizeof have, room.bytes));
}
