/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/timeline.h"

#include "harness/request.h"
#include "harness/room.h"

#include <string.h>

enum { DEFAULT_CHUNK = 512, SLACK = 64, MOST_ROWS_BACK = 4096 };

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Room for a chunk that an image's end lengthens, and for taking back a whole
 * answer: the template writes the turn anew, without its thinking. */
static void choose_plan(const g4_timeline *t, const g4_options *o, const g4_processor *proc,
                        const g4_generate_options *opt, g4_engine_plan *plan)
{
    int64_t draft_rows = t->rt->draft ? opt->max_draft + 1 : 1, block = 0;
    if (proc->has_vision)
        block = max64(o->image_tokens ? o->image_tokens : proc->image.max_soft_tokens,
                      proc->video.max_soft_tokens);
    plan->ctx = o->ctx > 0 ? o->ctx : G4_CHAT_CONTEXT;
    plan->rows = max64(min64(t->chunk + block, plan->ctx), draft_rows);
    plan->back = min64(opt->max_tokens, MOST_ROWS_BACK) + SLACK + draft_rows;
    plan->logit_rows = draft_rows;
}

g4_status g4_timeline_open(g4_timeline *t, const g4_runtime *rt, const g4_options *o,
                           const g4_processor *proc, const g4_generate_options *opt, g4_err *err)
{
    const g4_config *c = &rt->model->config;
    g4_engine_plan plan = rt->plan;
    *t = (g4_timeline){ .rt = rt, .chunk = o->chunk > 0 ? o->chunk : DEFAULT_CHUNK };
    G4_TRY(g4_asked_mask(&plan.mask, o, NULL, err));
    choose_plan(t, o, proc, opt, &plan);
    G4_TRY(g4_room_for_plan(rt, &plan, 1, err));
    G4_TRY(g4_engine_open(&t->engine, rt->model, &rt->ops, rt->par, &plan, err));
    G4_TRY(g4_session_open(&t->session, t->engine, err));
    if (rt->draft) G4_TRY(g4_drafter_open(&t->drafter, rt->draft, t->engine, err));
    t->logits = g4_arena_alloc(&t->arena, (size_t)c->vocab_size, sizeof *t->logits);
    t->hidden = g4_arena_alloc(&t->arena, (size_t)c->hidden_size, sizeof *t->hidden);
    return t->logits && t->hidden ? G4_OK : g4_nomem(err, "timeline");
}

static void forget_prompt(g4_timeline *t)
{
    g4_soft_free(&t->soft);
    g4_arena_free(&t->prompt_arena);
    memset(&t->prompt, 0, sizeof t->prompt);
    t->made.count = 0;
}

void g4_timeline_reset(g4_timeline *t)
{
    g4_session_reset(t->session);
    forget_prompt(t);
}

void g4_timeline_close(g4_timeline *t)
{
    forget_prompt(t);
    g4_ids_free(&t->made);
    g4_drafter_close(t->drafter);
    g4_session_close(t->session);
    g4_engine_close(t->engine);
    g4_arena_free(&t->arena);
    memset(t, 0, sizeof *t);
}

/* ---- what of the cache can stay ---- */

/* Is the cached token i the new prompt's token i, media included? */
static int same_token(const g4_timeline *t, int64_t i, const g4_prompt *p, const g4_soft *soft)
{
    int old = i < t->prompt.n;
    int32_t id = old ? t->prompt.ids[i] : t->made.ids[i - t->prompt.n];
    int type = old ? t->prompt.types[i] : G4_TEXT;
    const float *a = old ? t->soft.rows[i] : NULL, *b = soft->rows[i];
    if (id != p->ids[i] || type != p->types[i] || !a != !b) return 0;
    size_t bytes = (size_t)t->rt->model->config.hidden_size * sizeof *a;
    return !a || memcmp(a, b, bytes) == 0;
}

/* Would a cut in front of token i split an image? */
static int in_image(const g4_prompt *p, int64_t i)
{
    if (i < 1 || i >= p->n) return 0;
    int before = p->types[i - 1], behind = p->types[i];
    return (before == G4_IMAGE || before == G4_VIDEO) &&
           (behind == G4_IMAGE || behind == G4_VIDEO);
}

/* How many tokens need no prefill.  At least one does: its logits are wanted. */
static int64_t reusable(const g4_timeline *t, const g4_prompt *p, const g4_soft *soft, int64_t most)
{
    int64_t keep = 0;
    most = min64(most, min64(t->session->n, p->n - 1));
    while (keep < most && same_token(t, keep, p, soft)) keep++;
    while (keep > 0 && (in_image(p, keep) || in_image(&t->prompt, keep))) keep--;
    return g4_session_keeps(t->session, keep) ? keep : 0;
}

static void rewind_to(g4_timeline *t, int64_t keep)
{
    if (keep > 0) g4_session_rewind(t->session, keep);
    else g4_session_reset(t->session);
}

g4_status g4_timeline_begin(g4_timeline *t, const g4_prompt *p, g4_arena *arena, int64_t most,
                            int64_t *kept, g4_err *err)
{
    g4_soft soft = { 0 };
    G4_TRY(g4_soft_embed(&soft, t->engine, p, NULL, err));
    *kept = reusable(t, p, &soft, most);
    rewind_to(t, *kept);
    forget_prompt(t);
    t->prompt = *p;
    t->prompt_arena = *arena;
    t->soft = soft;
    *arena = (g4_arena){ NULL };
    return G4_OK;
}

void g4_timeline_again(g4_timeline *t)
{
    int64_t keep = min64(t->session->n, t->prompt.n - 1);
    while (in_image(&t->prompt, keep)) keep--;
    rewind_to(t, g4_session_keeps(t->session, keep) ? keep : 0);
    t->made.count = 0;
}

/* ---- reading ---- */

g4_status g4_timeline_read(g4_timeline *t, g4_stop_fn *stop, void *ctx, g4_err *err)
{
    const g4_prompt *p = &t->prompt;
    int64_t begin = t->session->n;
    while (begin < p->n && !stop(ctx)) {
        int64_t end = min64(begin + t->chunk, p->n);
        while (in_image(p, end)) end++;
        g4_prompt part = { .n = end - begin, .ids = p->ids + begin,
                           .positions = p->positions + begin, .types = p->types + begin };
        g4_soft soft = { .rows = t->soft.rows + begin };
        int last = end == p->n;
        const g4_prefill_item item = { t->session, &part, &soft, last ? t->logits : NULL,
                                       last ? t->hidden : NULL };
        G4_TRY(g4_prefill(t->engine, &item, 1, 0, err));
        begin = end;
    }
    return G4_OK;
}
