/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/runtime.h"

#include "harness/room.h"
#include "kernels_opt/kernels.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"

#include <string.h>

static g4_status open_draft(g4_runtime *rt, const g4_options *o, g4_draft_need need, g4_err *err)
{
    g4_arena arena = { NULL };
    const char *dir = o->draft;
    if (need == G4_DRAFT_NONE || (need == G4_DRAFT_IF_GIVEN && !dir)) return G4_OK;
    if (!dir) {
        dir = g4_arena_printf(&arena, "%s/assistant", o->model);
        if (!dir) return g4_nomem(err, o->model);
    }
    g4_status s = G4_OK;
    if (o->draft || need == G4_DRAFT_MUST || g4_path_kind(dir) >= 2)
        s = g4_model_open(&rt->draft, dir, err);
    g4_arena_free(&arena);
    if (s == G4_OK && rt->draft) s = g4_model_check_pair(rt->model, rt->draft, err);
    return s;
}

g4_status g4_runtime_plan(g4_engine_plan *plan, const g4_options *o, g4_err *err)
{
    int kv = g4_dtype_by_name(o->kv ? o->kv : "f32");
    if (kv != G4_F32 && kv != G4_F16 && kv != G4_Q8_0)
        return g4_fail(err, G4_EINPUT, "--kv %s: known are f32, f16, q8_0", o->kv);
    *plan = (g4_engine_plan){ .kv = (g4_dtype)kv };
    plan->stream = !o->engine || strcmp(o->engine, "opt") == 0;
    plan->pair = o->bf16 && strcmp(o->bf16, "pair") == 0;
    if (plan->pair && !plan->stream)
        return g4_fail(err, G4_EINPUT, "--bf16 pair: the reference multiplies exactly; leave out "
                                       "--engine ref");
    return G4_OK;
}

/* Quantized matrices into the form that the fast kernels read. */
static g4_status pack(g4_runtime *rt, g4_err *err)
{
    G4_TRY(g4_model_pack(rt->model, &rt->ops, rt->par, err));
    if (rt->draft) G4_TRY(g4_model_pack(rt->draft, &rt->ops, rt->par, err));
    rt->plan.panels = rt->model->panels || (rt->draft && rt->draft->panels);
    return G4_OK;
}

g4_status g4_runtime_open(g4_runtime *rt, const g4_options *o, g4_draft_need need, g4_err *err)
{
    memset(rt, 0, sizeof *rt);
    G4_TRY(g4_isa_parse(&rt->isas, o->isa, err));
    G4_TRY(g4_ops_select(&rt->ops, rt->isas, err));
    G4_TRY(g4_runtime_plan(&rt->plan, o, err));
    G4_TRY(g4_model_open(&rt->model, o->model, err));
    if (rt->model->config.is_drafter)
        return g4_fail(err, G4_EINPUT, "%s: is a drafter; a model is needed here", o->model);
    G4_TRY(open_draft(rt, o, need, err));
    G4_TRY(g4_par_open(&rt->par, (int)o->threads, err));
    if (o->command) G4_TRY(g4_command_find(&rt->command, o->command, err));
    G4_TRY(g4_room_for_model(rt, o, err));
    return rt->plan.stream ? pack(rt, err) : G4_OK;
}

void g4_runtime_close(g4_runtime *rt)
{
    g4_par_close(rt->par);
    g4_model_close(rt->draft);
    g4_model_close(rt->model);
    memset(rt, 0, sizeof *rt);
}
