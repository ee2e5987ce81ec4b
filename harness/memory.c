/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/memory.h"

#include "harness/pass.h"
#include "harness/reply.h"
#include "harness/request.h"
#include "harness/verify.h"
#include "ref/dtype/dtype.h"

#include <stdlib.h>
#include <string.h>

uint64_t g4_memory_now(void)
{
    char line[256];
    unsigned long long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (!f) return 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "RssAnon: %llu", &kb) != 1) { }
    fclose(f);
    return 1024 * (uint64_t)kb;
}

static void plan_cache(g4_memory *p, const g4_config *c)
{
    uint64_t all = (uint64_t)p->cases;
    for (int kind = 0; kind < 2; kind++) {
        p->layers[kind] = 0;
        for (int64_t l = 0; l < c->num_hidden_layers; l++)
            p->layers[kind] += c->layer_kind[l] == kind;
        p->slots[kind] = g4_cache_slots(c, &p->plan, kind);
    }
    p->cache_sliding = g4_cache_bytes(c, &p->plan, G4_SLIDING) * all;
    p->cache_full = g4_cache_bytes(c, &p->plan, G4_FULL) * all;
    p->cache = g4_session_bytes(c, &p->plan) * all;
}

/* What lies in panels is no longer read from the file. */
static void plan_weights(g4_memory *p, const g4_model *m, const g4_model *drafter,
                         const g4_ops *ops)
{
    uint64_t let_go;
    p->panels = 0;
    p->weights = g4_store_bytes(m->store);
    p->drafter_weights = drafter ? g4_store_bytes(drafter->store) : 0;
    if (!p->plan.stream) return;
    p->panels = g4_model_pack_bytes(m, ops, &let_go);
    p->weights -= let_go;
    if (drafter) {
        p->panels += g4_model_pack_bytes(drafter, ops, &let_go);
        p->drafter_weights -= let_go;
    }
    p->plan.panels = p->panels > 0;
}

void g4_memory_plan(g4_memory *p, const g4_model *m, const g4_model *drafter, const g4_ops *ops)
{
    const g4_config *c = &m->config;
    if (p->cases < 1) p->cases = 1;
    plan_cache(p, c);
    plan_weights(p, m, drafter, ops);
    p->work = g4_engine_bytes(c, &p->plan, ops, p->threads);
    p->results = (uint64_t)p->cases * (uint64_t)(c->vocab_size + c->hidden_size) * sizeof(float);
    if (drafter) {
        const g4_config *d = &drafter->config;
        g4_engine_plan one = p->plan;   /* a draft step is one row, its cache the backbone's */
        one.rows = one.logit_rows = 1;
        p->drafter_work = g4_engine_bytes(d, &one, ops, p->threads) +
                          (uint64_t)(d->vocab_size + 3 * c->hidden_size) * sizeof(float);
        p->drafter_work *= (uint64_t)p->cases;
    }
    p->anonymous = p->base + p->panels + p->cache + p->work + p->media + p->results +
                   p->sampling + p->passing + p->drafter_work;
    p->total = p->weights + p->drafter_weights + p->anonymous;
}

/* ---- what depends on the request ---- */

typedef struct requests {
    g4_options options;            /* those of the case being opened */
    g4_asked asked[G4_PASS_CASES];
    g4_pass_case cases[G4_PASS_CASES];
    int count;
} requests;

uint64_t g4_memory_soft(const g4_config *c, const g4_prompt *p, uint64_t *work)
{
    const g4_patches *patches[] = { &p->images, &p->frames };
    uint64_t D = (uint64_t)c->hidden_size, soft = 0, one;
    *work = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t B = (uint64_t)patches[i]->budget;
        if (!patches[i]->count) continue;
        one = B * (uint64_t)(g4_patch_values(c) + c->mm_embed_dim) * sizeof(float);
        soft += (uint64_t)patches[i]->count * B * D * sizeof(float);
        if (one > *work) *work = one;
    }
    one = (uint64_t)(p->clips * p->clip_frames) * (uint64_t)c->audio_embed_dim * sizeof(float);
    if (one > *work) *work = one;
    return soft + (uint64_t)(p->clips * p->clip_frames) * D * sizeof(float);
}

/* Rows of logits come in tiles across the cases: is case i in one? */
static int in_one_tile(const requests *r, int i, int64_t tile)
{
    int64_t at = 0;
    for (int k = 0; k < i; k++) at += r->cases[k].prompt->n;
    return at / tile == (at + r->cases[i].prompt->n - 1) / tile;
}

/* verify: the largest dataset as the golden has it, its float32 twin's, and ours where
 * that comes in pieces. */
static uint64_t golden_bytes(const requests *r, int i, const g4_engine_plan *plan, int chunks)
{
    const g4_golden *g = r->asked[i].golden;
    uint64_t most = 0;
    for (size_t k = 0; k < g4_golden_count(g); k++) {
        const g4_golden_set *s = g4_golden_at(g, k);
        uint64_t values = (uint64_t)g4_golden_values(s);
        uint64_t bytes = values * g4_golden_size(s->type);
        int tiled = s->role == G4_GOLDEN_LOGITS && !in_one_tile(r, i, plan->logit_rows);
        if (s->type == G4_GOLDEN_F64) bytes += values * sizeof(float);
        if (chunks || tiled) bytes += values * sizeof(float);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* dump: HDF5's own tables and the chunk being packed: gathered, shuffled and deflated.  It
 * is the pixels of one picture, or a row of logits, of which twice as many are about, as
 * the next is gathered (measured: 2.5 MB for a row of 256 KB, 7.1 MB for one of 1 MB).  In
 * a prefill in chunks all datasets are open at once, each with 128 KB of its rows. */
static uint64_t writing_bytes(const g4_config *c, const g4_options *o, const g4_prompt *p)
{
    enum { LIBRARY = 1 << 20, CHUNK = 128 << 10, STAGES = 3, MODULES = 15 };
    int64_t B = p->images.count ? p->images.budget : p->frames.count ? p->frames.budget : 0;
    uint64_t row = 2 * (uint64_t)c->vocab_size * sizeof(float), sets = 0;
    uint64_t picture = B ? (uint64_t)(B * g4_patch_values(c)) * sizeof(float) : 0;
    if (row < CHUNK) row = CHUNK;
    if (o->chunk && o->chunk < p->n) {
        int all = !o->detail || strcmp(o->detail, "all") == 0;
        sets = (uint64_t)(c->num_hidden_layers * (all ? MODULES : 1));
    }
    return LIBRARY + STAGES * (row > picture ? row : picture) + sets * CHUNK;
}

static void close_requests(requests *r)
{
    for (int i = 0; i < r->count; i++) g4_asked_close(&r->asked[i]);
    r->count = 0;
}

/* generate writes text: it has a tokenizer even where ids were given. */
static g4_status open_tokenizer(g4_asked *a, const g4_options *o, g4_err *err)
{
    if (a->tokenizer || strcmp(o->purpose, "generate") != 0) return G4_OK;
    return g4_tokenizer_load(&a->tokenizer, o->model, err);
}

/* Those of the next pass, as the command opens them. */
static g4_status open_requests(requests *r, const g4_options *o, const g4_model *m, int at,
                               g4_err *err)
{
    int most = o->arg_count ? o->arg_count - at : 1, verify = strcmp(o->purpose, "verify") == 0;
    g4_mask mask[2];
    for (int i = 0; i < most && i < G4_PASS_CASES; i++) {
        g4_asked *a = &r->asked[i];
        if (o->arg_count) r->options.inputs = o->args[at + i];
        r->count = i + 1;
        G4_TRY(g4_asked_open(a, &r->options, m, err));
        G4_TRY(open_tokenizer(a, o, err));
        G4_TRY(g4_asked_mask(&mask[i > 0], o, a->golden, err));
        r->cases[i] = (g4_pass_case){ .prompt = &a->prompt };
        if (verify) r->cases[i].behind = g4_verify_behind(a->golden);
        if (mask[i > 0] == mask[0] && g4_pass_fits(r->cases, i + 1)) continue;
        g4_asked_close(a);
        r->count = i;
        return G4_OK;
    }
    return G4_OK;
}

static void plan_stream(g4_memory *p, const g4_prompt *prompt, const g4_options *o, g4_model *m,
                        g4_model *drafter)
{
    const g4_runtime rt = { .model = m, .draft = drafter };
    g4_generate_options opt = { 0 };
    g4_sampling_choose(&opt, o, &rt, G4_STREAM_TOKENS);
    g4_stream_plan(&p->plan, prompt, o, opt.max_tokens, drafter ? opt.max_draft + 1 : 1);
    p->sampling = g4_generate_bytes(&m->config, &opt, drafter != NULL);
}

static void plan_pass(g4_memory *p, const requests *r, const g4_options *o, g4_model *m,
                      g4_model *drafter, const g4_ops *ops)
{
    const g4_config *c = &m->config;
    int verify = strcmp(o->purpose, "verify") == 0, dump = strcmp(o->purpose, "dump") == 0;
    if (verify) g4_pass_plan(&p->plan, r->cases, r->count, o->chunk, G4_VERIFY_DRAFT);
    else if (dump) g4_pass_plan(&p->plan, r->cases, r->count, o->chunk, 0);
    else plan_stream(p, &r->asked[0].prompt, o, m, drafter);
    p->cases = r->count;
    p->media = p->passing = 0;
    for (int i = 0; i < r->count; i++) {
        const g4_prompt *prompt = r->cases[i].prompt;
        uint64_t work, now = verify ? golden_bytes(r, i, &p->plan, o->chunk && o->chunk < prompt->n)
                            : dump ? writing_bytes(c, o, prompt) : 0;
        p->media += g4_memory_soft(c, prompt, &work);
        if (work > now) now = work;
        if (now > p->passing) p->passing = now;
    }
    p->base = g4_memory_now();
    g4_memory_plan(p, m, drafter, ops);
}

g4_status g4_memory_request(g4_memory *p, const g4_options *o, g4_model *m, g4_model *drafter,
                            const g4_ops *ops, g4_err *err)
{
    g4_memory now = *p;
    int verify = strcmp(o->purpose, "verify") == 0, generate = strcmp(o->purpose, "generate") == 0;
    if (verify && !o->arg_count)
        return g4_fail(err, G4_EINPUT, "--for verify: golden files are missing");
    if (generate && o->arg_count)
        return g4_fail(err, G4_EINPUT, "%s: one argument too many", o->args[0]);
    if (!verify && (!generate || !o->draft)) drafter = NULL;   /* as those commands open it */
    requests *r = calloc(1, sizeof *r);
    if (!r) return g4_nomem(err, "plan");
    r->options = *o;
    g4_status s = G4_OK;
    for (int at = 0; s == G4_OK && (at == 0 || at < o->arg_count); ) {
        s = open_requests(r, o, m, at, err);
        if (s == G4_OK) plan_pass(&now, r, o, m, drafter, ops);
        if (s == G4_OK && now.anonymous > p->anonymous) *p = now;
        at += r->count;
        close_requests(r);
    }
    close_requests(r);
    free(r);
    return s;
}
