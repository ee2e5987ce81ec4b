/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: one byte that says how many tokens the model knows, then llama.cpp's
 * --kl-divergence-base file.  What is taken has windows of tokens and, read in any steps, rows
 * that give finite figures. */
#include "harness/fuzz/folder.h"
#include "harness/kl/kl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 20, STEP = 3, BOS = 2 };

static void require(int holds)
{
    if (!holds) abort();
}

static void windows(const g4_kl_text *t, int64_t V)
{
    int64_t scored = 0;
    require(t->count > 0 && t->ctx >= 4);
    for (size_t i = 0; i < t->count; i++) {
        const g4_kl_window *w = &t->windows[i];
        require(w->n == t->ctx && w->scored >= 1 && w->scored < w->n);
        require(w->lead >= 0 && w->lead < V && t->ids.ids[w->first] == BOS);
        for (int32_t k = 0; k < w->n; k++) {
            int32_t id = t->ids.ids[w->first + (size_t)k];
            require(id >= 0 && id < V);
        }
        scored += w->scored;
    }
    require(scored == t->scored);
}

static g4_status rows(g4_kl_source *s, int64_t scored, int64_t V, g4_err *err)
{
    static uint8_t mark[MOST];
    float logits[MOST];
    g4_kl_ref refs[STEP];
    g4_kl_token k;
    for (int64_t i = 0; i < V; i++) logits[i] = (float)(i % 7);
    for (int64_t at = 0, n; at < scored; at += n) {
        n = scored - at < STEP ? scored - at : STEP;
        G4_TRY(s->rows(s, at, &n, refs, err));
        require(n >= 1 && n <= STEP);
        for (int64_t i = 0; i < n; i++) {
            g4_kl_row(&k, logits, V, (int32_t)((at + i) % V), &refs[i], mark);
            require(isfinite(k.nll_ref) && isfinite(k.kl) && isfinite(k.dp));
            require(k.top1 <= 1 && k.top5 <= G4_KL_TOP_SHARED);
        }
    }
    return G4_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[4096];
    g4_kl_source *s = NULL;
    g4_kl_text t = { 0 };
    g4_err err = { G4_OK, "" };
    if (size < 1) return 0;
    int64_t V = G4_KL_TOP_SHARED + data[0] % (MOST - G4_KL_TOP_SHARED + 1);
    snprintf(path, sizeof path, "%s/base", fuzz_folder());
    fuzz_file("base", data + 1, size - 1);
    g4_status st = g4_kl_codes_open(&s, &t, path, V, BOS, &err);
    if (st == G4_OK) {
        windows(&t, V);
        st = rows(s, t.scored, V, &err);
    }
    if (st != G4_OK) require(strncmp(err.msg, path, strlen(path)) == 0);
    if (s) s->close(s);
    g4_kl_text_free(&t);
    return 0;
}
