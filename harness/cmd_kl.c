/* SPDX-License-Identifier: Apache-2.0
 * gemma4 kl: how far a candidate's predictions lie from a reference's, over the whole
 * vocabulary (harness/kl/kl.h); or, with --save, what a later run is held against. */
#include "harness/kl/command.h"
#include "ref/base/map.h"

#include <string.h>

static g4_status check(const g4_options *o, g4_err *err)
{
    if (!o->reference == !o->save)
        return g4_fail(err, G4_EINPUT, "kl: needs --reference, or --save: what --model says "
                                       "becomes a reference");
    if (o->keep && !o->save) return g4_fail(err, G4_EINPUT, "--keep: goes with --save F.h5");
    if (o->reference && !strchr(o->reference, ',') && g4_path_kind(o->reference) == 0)
        return g4_fail(err, G4_EINPUT, "%s: no such model, nor file of a reference",
                       o->reference);
    if (!o->reference || g4_kl_is_model(o->reference)) return G4_OK;
    if (o->data || o->protocol || o->windows || o->stride || o->ctx || o->limit || o->bos)
        return g4_fail(err, G4_EINPUT, "%s: has its own text and windows; leave out --data, "
                       "--protocol, --windows, --stride, --ctx, --limit, --bos", o->reference);
    if (o->reference_engine)
        return g4_fail(err, G4_EINPUT, "--reference-engine: %s is not a model", o->reference);
    return G4_OK;
}

int cmd_kl(const g4_options *o, g4_err *err)
{
    return check(o, err) == G4_OK ? g4_kl_command(o, err) : 2;
}
