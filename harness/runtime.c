/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/runtime.h"

#include "kernels_opt/kernels.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"

#include <string.h>

/* What the command line may name but this build cannot do yet. */
static g4_status refuse_unbuilt(const g4_options *o, g4_err *err)
{
    if (o->engine && strcmp(o->engine, "ref") != 0)
        return g4_fail(err, G4_EINPUT, "--engine %s: only ref is built", o->engine);
    return G4_OK;
}

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

g4_status g4_runtime_open(g4_runtime *rt, const g4_options *o, g4_draft_need need, g4_err *err)
{
    memset(rt, 0, sizeof *rt);
    G4_TRY(refuse_unbuilt(o, err));
    G4_TRY(g4_isa_parse(&rt->isas, o->isa, err));
    G4_TRY(g4_ops_select(&rt->ops, rt->isas, err));
    if (o->kv) {
        int kv = g4_dtype_by_name(o->kv);
        if (kv != G4_F32 && kv != G4_F16 && kv != G4_Q8_0)
            return g4_fail(err, G4_EINPUT, "--kv %s: known are f32, f16, q8_0", o->kv);
        rt->kv = (g4_dtype)kv;
    }
    G4_TRY(g4_model_open(&rt->model, o->model, err));
    if (rt->model->config.is_drafter)
        return g4_fail(err, G4_EINPUT, "%s: is a drafter; a model is needed here", o->model);
    G4_TRY(open_draft(rt, o, need, err));
    return g4_par_open(&rt->par, (int)o->threads, err);
}

void g4_runtime_close(g4_runtime *rt)
{
    g4_par_close(rt->par);
    g4_model_close(rt->draft);
    g4_model_close(rt->model);
    memset(rt, 0, sizeof *rt);
}
