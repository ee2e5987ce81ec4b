/* SPDX-License-Identifier: Apache-2.0
 * The same rounds by each engine's own definitions [N71].  All count a round that drafted
 * something as one step, and add one token a step to the accepted ones for the length.
 * They differ in a round that ends the text at an accepted draft e (counted from 0):
 *   transformers  e accepted: it cuts behind e and takes one off for the bonus token
 *   llama.cpp     e, unless e was the last draft: then all of them
 *   vLLM          all that verification accepted */
#include "harness/mtp/mtp.h"

#include <stdio.h>

static int64_t accepted_of(const g4_mtp_round *r, g4_draft_way way)
{
    int cut = r->written <= r->matched;   /* the text ended at an accepted draft */
    if (!cut || way == G4_DRAFT_VLLM || way == G4_DRAFT_OURS) return r->matched;
    if (way == G4_DRAFT_LLAMA_CPP && r->written == r->k) return r->matched;
    return r->written - 1;
}

g4_mtp_report g4_mtp_engine(const g4_mtp_study *s, g4_draft_way way)
{
    g4_mtp_report e = { 0 };
    for (size_t i = 0; i < s->round_count; i++) {
        const g4_mtp_round *r = &s->rounds[i];
        if (r->k == 0) continue;
        int64_t accepted = accepted_of(r, way);
        e.rounds++;
        e.drafted += r->k;
        e.accepted += accepted;
        for (int64_t k = 0; k < accepted; k++) e.at[k]++;
    }
    if (e.rounds == 0) return e;
    e.rate = (double)e.accepted / (double)e.drafted;
    e.length = 1.0 + (double)e.accepted / (double)e.rounds;
    for (int k = 0; k < G4_MAX_DRAFT; k++) e.rate_at[k] = (double)e.at[k] / (double)e.rounds;
    return e;
}

char *g4_mtp_engine_line(char *buf, size_t size, const g4_mtp_report *r, g4_draft_way way,
                         int64_t most)
{
    char at[16 * G4_MAX_DRAFT] = "";
    size_t n = 0;
    for (int64_t k = 0; k < most && k < G4_MAX_DRAFT; k++)
        n += (size_t)snprintf(at + n, sizeof at - n, "%s%.3f", k ? ", " : "", r->rate_at[k]);
    if (way == G4_DRAFT_LLAMA_CPP)
        snprintf(buf, size, "llama.cpp: draft acceptance = %.5f (%5lld accepted / %5lld "
                 "generated), mean len = %5.2f, acceptance rate per position = (%s)", r->rate,
                 (long long)r->accepted, (long long)r->drafted, r->length, at);
    else if (way == G4_DRAFT_VLLM)
        snprintf(buf, size, "vllm: Mean acceptance length: %.2f, Accepted: %lld tokens, Drafted: "
                 "%lld tokens, Per-position acceptance rate: %s, Avg Draft acceptance rate: "
                 "%.1f%%", r->length, (long long)r->accepted, (long long)r->drafted, at,
                 100.0 * r->rate);
    else
        snprintf(buf, size, "transformers: prints nothing; its candidate_length and n_matches sum "
                 "to %lld and %lld in %lld rounds: %.5f", (long long)r->drafted,
                 (long long)r->accepted, (long long)r->rounds, r->rate);
    return buf;
}
