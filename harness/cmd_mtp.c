/* SPDX-License-Identifier: Apache-2.0
 * gemma4 mtp: how often a drafter's tokens are accepted, for which text, and what that is
 * worth (harness/mtp/mtp.h). */
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

static g4_status make_folder(const char *path, g4_err *err)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && g4_path_kind(path) == 2)) return G4_OK;
    return g4_fail(err, G4_EIO, "%s: cannot make this folder: %s", path, strerror(errno));
}

static g4_status open_study(g4_mtp_study *s, g4_err *err)
{
    const g4_options *o = s->o;
    G4_TRY(g4_runtime_open(&s->rt, o, G4_DRAFT_MUST, err));
    g4_sampling_choose(&s->opt, o, &s->rt, G4_STREAM_TOKENS);
    if (o->temperature < 0.0) s->opt.sampler.temperature = 0.0;
    g4_pace_choose(&s->opt, &s->pace, o, &s->rt);
    G4_TRY(choose_way(s, err));
    G4_TRY(parse_accept(s, err));
    G4_TRY(g4_tokenizer_load(&s->tokenizer, o->model, err));
    G4_TRY(g4_processor_load(&s->processor, o->model, err));
    G4_TRY(g4_mtp_data(s, err));
    return make_folder(o->out, err);
}

static void print_table(const g4_mtp_study *s)
{
    char line[1024];
    double written = 0.0, matched = 0.0, drafted = 0.0, rounds = (double)s->round_count;
    for (size_t i = 0; i < s->round_count; i++) {
        written += s->rounds[i].written;
        matched += s->rounds[i].matched;
        drafted += s->rounds[i].k;
    }
    printf("%zu prompts, %zu rounds, %.0f drafts: %.0f accepted (%.4f), %.3f tokens a pass\n",
           s->count, s->round_count, drafted, matched, drafted > 0.0 ? matched / drafted : 0.0,
           rounds > 0.0 ? written / rounds : 0.0);
    for (int way = G4_DRAFT_HF; way <= G4_DRAFT_VLLM; way++) {
        g4_mtp_report r = g4_mtp_engine(s, (g4_draft_way)way);
        if (s->opt.way != G4_DRAFT_OURS && (int)s->opt.way != way) continue;
        if (r.rounds)
            puts(g4_mtp_engine_line(line, sizeof line, &r, (g4_draft_way)way, s->opt.max_draft));
    }
}

static g4_status work(g4_mtp_study *s, g4_err *err)
{
    G4_TRY(open_study(s, err));
    G4_TRY(g4_mtp_run(s, err));
    G4_TRY(g4_mtp_costs(s, err));
    const char *rounds = g4_arena_printf(&s->arena, "%s/rounds.h5", s->o->out);
    const char *summary = g4_arena_printf(&s->arena, "%s/summary.csv", s->o->out);
    if (!rounds || !summary) return g4_nomem(err, s->o->out);
    G4_TRY(g4_mtp_write_rounds(s, rounds, err));
    G4_TRY(g4_mtp_write_summary(s, summary, err));
    print_table(s);
    return G4_OK;
}

int cmd_mtp(const g4_options *o, g4_err *err)
{
    g4_mtp_study *s = calloc(1, sizeof *s);
    if (!s) {
        g4_nomem(err, "mtp");
        return 2;
    }
    s->o = o;
    g4_status st = work(s, err);
    g4_jsonl_free(&s->file);
    g4_tokenizer_free(s->tokenizer);
    free(s->rounds);
    free(s->places);
    free(s->ids);
    g4_runtime_close(&s->rt);
    g4_arena_free(&s->arena);
    free(s);
    return st == G4_OK ? 0 : 2;
}
