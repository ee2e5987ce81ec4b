/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/sensitivity/sensitivity.h"
#include "ref/file/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct walk {
    g4_sens_slots *s;
    int64_t drafted;             /* layer of a drafter's matrices; 0: not a drafter */
    g4_arena *arena;
} walk;

/* "blk.12.ffn_down" -> 12, "ffn_down"; else what it is for. */
static const char *kind_of(const char *name, int64_t *layer)
{
    const char *dot = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    *layer = dot ? strtoll(name + 4, NULL, 10) : -1;
    if (dot) return dot + 1;
    if (strncmp(name, "mm.a.", 5) == 0) return "audio";
    return strncmp(name, "token", 5) == 0 ? "embedding" : "vision";
}

static g4_status add(walk *w, const char *name, g4_mat *at, g4_err *err)
{
    g4_sens_slot *slot = &w->s->list[w->s->count++];
    slot->name = g4_arena_printf(w->arena, "%s%s", w->drafted ? "draft." : "", name);
    if (!slot->name) return g4_nomem(err, "tensors");
    slot->kind = kind_of(slot->name, &slot->layer);
    if (w->drafted) {
        slot->kind = "drafter";
        slot->layer = w->drafted;
    }
    slot->text = !w->drafted && strcmp(slot->kind, "audio") != 0 &&
                 strcmp(slot->kind, "vision") != 0;
    slot->mat = *at;
    slot->at = at;
    return G4_OK;
}

static g4_status visit(void *ctx, const g4_weight_spec *spec, void *slot, g4_err *err)
{
    walk *w = ctx;
    char name[G4_TENSOR_NAME];
    g4_gguf_change change;
    uint64_t values = 1;
    for (int i = 0; i < spec->rank; i++) values *= (uint64_t)spec->shape[i];
    if (!g4_gguf_from_hf(name, spec->name, w->drafted > 0, &change)) return G4_OK;
    if (spec->role != G4_ROLE_LINEAR && spec->role != G4_ROLE_TABLE) {
        if (strncmp(name, "v.", 2) != 0 && !w->drafted) w->s->other += 4 * values;
        return G4_OK;
    }
    size_t len = strlen(name), tail = sizeof ".weight" - 1;
    if (len > tail && strcmp(name + len - tail, ".weight") == 0) name[len - tail] = 0;
    return add(w, name, slot, err);
}

g4_status g4_sens_slots_open(g4_sens_slots *s, g4_model *m, g4_model *draft, g4_arena *arena,
                             g4_err *err)
{
    walk w = { s, 0, arena };
    size_t most = 8 + 7 * (size_t)m->config.num_hidden_layers;
    if (draft) most += 8 + 7 * (size_t)draft->config.num_hidden_layers;
    *s = (g4_sens_slots){ 0 };
    s->list = g4_arena_alloc(arena, most, sizeof *s->list);
    if (!s->list) return g4_nomem(err, "tensors");
    s->other = 4 * (uint64_t)m->config.head_dim[G4_FULL] / 2;   /* rope_freqs [gguf_out.c] */
    G4_TRY(g4_weights_visit(m, visit, &w, err));
    while (s->table < s->count && strcmp(s->list[s->table].kind, "embedding") != 0) s->table++;
    s->head = s->count;
    G4_TRY(add(&w, s->list[s->table].name, s->list[s->table].at, err));
    s->list[s->head].kind = "head";
    s->list[s->head].layer = m->config.num_hidden_layers;
    w.drafted = m->config.num_hidden_layers + 1;
    return draft ? g4_weights_visit(draft, visit, &w, err) : G4_OK;
}
