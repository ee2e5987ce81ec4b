/* SPDX-License-Identifier: Apache-2.0
 * gemma4 mtp: how often a drafter's tokens are accepted, for which text, and what that is
 * worth (harness/mtp/mtp.h). */
#include "harness/mtp/mtp.h"

#include <stdlib.h>

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

static g4_status work(g4_mtp_study *s, const g4_options *o, g4_err *err)
{
    G4_TRY(g4_mtp_open(s, o, err));
    if (s->o->teacher_forced) {
        G4_TRY(g4_mtp_teacher(s, err));
    } else {
        G4_TRY(g4_mtp_run(s, err));
        G4_TRY(g4_mtp_costs(s, err));
    }
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
    g4_status st = work(s, o, err);
    g4_mtp_close(s);
    free(s);
    return st == G4_OK ? 0 : 2;
}
