/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/mtp/mtp.h"
#include "harness/pass.h"
#include "harness/reply.h"

#include "ref/base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static g4_status choose_way(g4_mtp_study *s, g4_err *err)
{
    const char *name = s->o->emulate;
    for (int way = G4_DRAFT_HF; name && way <= G4_DRAFT_VLLM; way++)
        if (strcmp(name, g4_mtp_way_name((g4_draft_way)way)) == 0) s->opt.way = (g4_draft_way)way;
    if (s->opt.way == G4_DRAFT_OURS || s->o->max_draft >= 0) return G4_OK;
    return g4_fail(err, G4_EINPUT, "--emulate %s: needs --max-draft, its rounds are of one length",
                   name);
}

/* --accept 0.9,0.8: of each draft position; the last one goes on. */
static g4_status parse_accept(g4_mtp_study *s, g4_err *err)
{
    const char *at = s->o->accept;
    double *rates = g4_arena_alloc(&s->arena, G4_MAX_DRAFT, sizeof *rates);
    int n = 0;
    if (!at) return G4_OK;
    if (!rates) return g4_nomem(err, "--accept");
    while (n < G4_MAX_DRAFT) {
        char *end;
        rates[n] = strtod(at, &end);
        if (end == at || !(rates[n] >= 0.0 && rates[n] <= 1.0) || (*end && *end != ','))
            return g4_fail(err, G4_EINPUT, "--accept %s: expected numbers from 0 to 1",
                           s->o->accept);
        n++;
        if (!*end) break;
        at = end + 1;
    }
    for (; n < G4_MAX_DRAFT; n++) rates[n] = rates[n - 1];
    s->opt.forced = rates;
    return G4_OK;
}

/* One pass over the weights is not cut; rounds are all of one length there. */
static g4_status check_teacher(g4_mtp_study *s, g4_err *err)
{
    const g4_options *o = s->o;
    if (!o->teacher_forced) return G4_OK;
    if (o->resume || o->emulate || o->accept || o->max_tokens >= 0)
        return g4_fail(err, G4_EINPUT, "--teacher-forced: excludes --resume, --emulate, --accept "
                       "and --max-tokens");
    s->opt.pace = NULL;
    return s->opt.max_draft > 0
               ? G4_OK : g4_fail(err, G4_EINPUT, "--teacher-forced: --max-draft 0 drafts nothing");
}

static g4_status make_folder(const char *path, g4_err *err)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && g4_path_kind(path) == 2)) return G4_OK;
    return g4_fail(err, G4_EIO, "%s: cannot make this folder: %s", path, strerror(errno));
}

g4_status g4_mtp_open(g4_mtp_study *s, const g4_options *o, g4_err *err)
{
    memset(s, 0, sizeof *s);
    s->o = o;
    G4_TRY(g4_runtime_open(&s->rt, o, G4_DRAFT_MUST, err));
    g4_sampling_choose(&s->opt, o, &s->rt, G4_STREAM_TOKENS);
    if (o->temperature < 0.0) s->opt.sampler.temperature = 0.0;
    g4_pace_choose(&s->opt, &s->pace, o, &s->rt);
    G4_TRY(choose_way(s, err));
    G4_TRY(parse_accept(s, err));
    G4_TRY(check_teacher(s, err));
    G4_TRY(g4_tokenizer_load(&s->tokenizer, o->model, err));
    G4_TRY(g4_processor_load(&s->processor, o->model, err));
    G4_TRY(g4_mtp_data(s, err));
    return make_folder(o->out, err);
}

void g4_mtp_close(g4_mtp_study *s)
{
    g4_jsonl_free(&s->file);
    g4_tokenizer_free(s->tokenizer);
    free(s->rounds);
    free(s->places);
    free(s->ids);
    g4_runtime_close(&s->rt);
    g4_arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}
