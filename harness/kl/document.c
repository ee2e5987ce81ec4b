/* SPDX-License-Identifier: Apache-2.0
 * --data: a text (UTF-8), one document; or F.jsonl, one a line:
 *   text      the document; or
 *   ids       its tokens
 *   prompt    what a user asked before it (framed); what is asked (self; default: text)
 * Under --protocol self a plain text is a prompt a line.
 *   raw       the document behind <bos>: for base models
 *   framed    the document as the model's own turn, behind the chat template's prompt: an
 *             instruction-tuned model's perplexity of raw text is 1e4 and more by nature
 *   self      what the reference answers greedily, as it ends by itself or at --max-tokens */
#include "harness/eval/batch.h"
#include "harness/eval/jsonl.h"
#include "harness/greedy.h"
#include "harness/kl/windows.h"
#include "harness/reply.h"
#include "harness/request.h"
#include "harness/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DATA = 256 << 20, CTX = 512, ANSWER = 256 };

typedef struct document {
    const char *prompt, *text;       /* NULL: none */
    size_t len;                      /* of text */
    g4_json ids;                     /* root NULL: none */
    const char *name;                /* for messages */
} document;

typedef struct loader {
    g4_kl_text *text;
    const g4_options *o;
    const g4_runtime *writer;
    const g4_tokenizer *tokenizer;
    g4_chat_options chat;
    g4_bos bos;
    document *docs;
    size_t count;
    g4_jsonl file;
    char *data;                      /* of a plain text */
    g4_ids prefix, tokens;           /* of the document at hand */
    int32_t *scratch;
    g4_arena arena;
} loader;

static int is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- reading ---- */

static g4_status load_lines(loader *l, g4_err *err)
{
    G4_TRY(g4_jsonl_load(&l->file, l->o->data, err));
    l->docs = g4_arena_alloc(&l->arena, l->file.count + 1, sizeof *l->docs);
    if (!l->docs) return g4_nomem(err, l->o->data);
    for (; l->count < l->file.count; l->count++) {
        const g4_json *j = &l->file.lines[l->count];
        document *d = &l->docs[l->count];
        d->name = j->file;
        G4_TRY(g4_json_opt_str(j, "prompt", &d->prompt, err));
        G4_TRY(g4_json_opt_str(j, "text", &d->text, err));
        if (g4_json_has(j, "ids")) G4_TRY(g4_json_array(j, "ids", 1, &d->ids, err));
        d->len = d->text ? strlen(d->text) : 0;
        int self = is(l->text->protocol, "self");
        if (self && !d->prompt) d->prompt = d->text;
        if (self ? !d->prompt : !d->text == !d->ids.root)
            return g4_fail(err, G4_EINPUT, "%s: expected %s", j->file,
                           self ? "a prompt" : "a text or ids");
        if (!self && d->prompt && is(l->text->protocol, "raw"))
            return g4_fail(err, G4_EINPUT, "%s: a prompt goes with --protocol framed or self",
                           j->file);
    }
    return G4_OK;
}

static g4_status load_text(loader *l, g4_err *err)
{
    size_t size, lines = 1;
    const char *name = l->o->data;
    G4_TRY(g4_text_read(name, MAX_DATA, &l->data, &size, err));
    char *text = l->data;
    int self = is(l->text->protocol, "self");
    if (memchr(text, 0, size)) return g4_fail(err, G4_EINPUT, "%s: a NUL in the text", name);
    for (size_t i = 0; self && i < size; i++) lines += text[i] == '\n';
    l->docs = g4_arena_alloc(&l->arena, lines, sizeof *l->docs);
    if (!l->docs) return g4_nomem(err, name);
    if (!self) {
        l->docs[0] = (document){ .text = text, .len = size, .name = name };
        l->count = 1;
        return G4_OK;
    }
    for (char *at = text, *end = text + size; at < end;) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop) *stop = 0;
        if (at[strspn(at, " \t\r")])
            l->docs[l->count++] = (document){ .prompt = at, .name = name };
        at = stop ? stop + 1 : end;
    }
    return G4_OK;
}

/* ---- tokens ---- */

static g4_status take_ids(loader *l, const document *d, g4_err *err)
{
    json_t *v;
    size_t i;
    int64_t V = l->writer->model->config.vocab_size;
    json_array_foreach(d->ids.root, i, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= V)
            return g4_fail(err, G4_EINPUT, "%s: ids: number %zu is no token", d->name, i + 1);
        G4_TRY(g4_ids_push(&l->tokens, (int32_t)id, err));
    }
    return G4_OK;
}

/* The chat template's text up to where the model's turn begins. */
static g4_status ask(loader *l, const document *d, g4_err *err)
{
    json_t *root = json_pack("[{s:s, s:s}]", "role", "user", "content", d->prompt);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    g4_chat *chat = NULL;
    g4_chat_text out = { 0 };
    json_decref(root);
    if (!text) return g4_nomem(err, d->name);
    g4_status s = g4_chat_parse(&chat, d->name, text, strlen(text), err);
    if (s == G4_OK) s = g4_chat_write(&out, chat, &l->chat, d->name, err);
    if (s == G4_OK)
        s = g4_tokenizer_encode_bos(l->tokenizer, out.text, out.len, G4_BOS_AUTO, &l->prefix, err);
    g4_chat_text_free(&out);
    g4_chat_free(chat);
    free(text);
    return s;
}

/* The model's turn by itself, where nobody asked [N90]. */
static g4_status frame(loader *l, const document *d, g4_err *err)
{
    static const char turn[] = "<bos><|turn>model\n", thought[] = "<|channel>thought\n<channel|>";
    int empty = l->chat.thinking != 1 && l->chat.empty_thought;
    char text[sizeof turn + sizeof thought];
    if (g4_tokenizer_id(l->tokenizer, "<|turn>") < 0)
        return g4_fail(err, G4_EINPUT, "%s: its tokens have no <|turn>: --protocol raw",
                       l->o->model);
    if (d->prompt) return ask(l, d, err);
    snprintf(text, sizeof text, "%s%s", turn, empty ? thought : "");
    return g4_tokenizer_encode_bos(l->tokenizer, text, strlen(text), G4_BOS_AUTO, &l->prefix, err);
}

/* Fills prefix and tokens. */
static g4_status tokens_of(loader *l, const document *d, g4_err *err)
{
    int raw = is(l->text->protocol, "raw");
    int32_t bos = g4_tokenizer_bos(l->tokenizer);
    l->prefix.count = l->tokens.count = 0;
    if (d->ids.root) G4_TRY(take_ids(l, d, err));
    else if (d->text && !is(l->text->protocol, "self"))
        G4_TRY(g4_tokenizer_encode_bos(l->tokenizer, d->text, d->len, raw ? l->bos : G4_BOS_OFF,
                                       &l->tokens, err));
    if (!raw) return frame(l, d, err);
    int there = l->tokens.count && l->tokens.ids[0] == bos;
    if (there) memmove(l->tokens.ids, l->tokens.ids + 1, --l->tokens.count * sizeof *l->tokens.ids);
    return there ? g4_ids_push(&l->prefix, bos, err) : G4_OK;
}

/* ---- windows ---- */

static g4_status cut(loader *l, const document *d, g4_err *err)
{
    g4_kl_text *t = l->text;
    g4_kl_cut c = { .text = t, .limit = l->o->limit, .ctx = t->ctx, .scratch = l->scratch };
    int64_t scored = t->scored;
    G4_TRY(tokens_of(l, d, err));
    c.prefix = l->prefix.ids;
    c.prefix_n = (int64_t)l->prefix.count;
    c.tokens = l->tokens.ids;
    c.n = (int64_t)l->tokens.count;
    c.stride = t->stride;
    int64_t most = is(t->cut, "lm-eval") ? t->ctx : t->ctx - c.prefix_n;
    if (most < 1 || t->stride > most)
        return g4_fail(err, G4_EINPUT, "%s: --stride %lld: of a window of %lld tokens %lld are the "
                       "prompt's", d->name, (long long)t->stride, (long long)t->ctx,
                       (long long)c.prefix_n);
    if (is(t->cut, "halves")) return g4_kl_cut_halves(&c, err);
    G4_TRY(g4_kl_cut_rolling(&c, is(t->cut, "lm-eval"), err));
    if (t->scored - scored == c.n && d->text) {   /* all of it: lm-eval's counts */
        t->bytes += (double)d->len;
        t->words += (double)g4_kl_gaps(d->text, d->len) + 1.0;
    }
    return G4_OK;
}

static g4_status cut_all(loader *l, g4_err *err)
{
    g4_kl_text *t = l->text;
    int whole = !is(t->cut, "halves");
    for (size_t i = 0; i < l->count; i++) {
        int64_t before = t->scored;
        double bytes = t->bytes;
        if (l->o->limit > 0 && (int64_t)t->count >= l->o->limit) break;
        G4_TRY(cut(l, &l->docs[i], err));
        t->documents++;
        if (t->scored > before && t->bytes == bytes) whole = 0;   /* ids, or cut by --limit */
    }
    return whole ? G4_OK : g4_kl_text_measure(t, l->tokenizer, err);
}

/* ---- the writer's answers ---- */

typedef struct answers {
    g4_ids *made;                    /* [count] prompt, then the answer */
    size_t *prompts, count;          /* [count] how many of them are the prompt's */
    int64_t stops[G4_MAX_STOPS];
    int stop_count;
} answers;

static g4_status answer_token(void *ctx, size_t job, int32_t id, int *end, g4_err *err)
{
    answers *a = ctx;
    for (int i = 0; i < a->stop_count; i++)
        if (a->stops[i] == id) *end = 1;
    return g4_ids_push(&a->made[job], id, err);   /* the stop token is predicted, too */
}

static g4_status answer_all(loader *l, answers *a, g4_err *err)
{
    const g4_options *o = l->o;
    size_t n = l->count;
    if (o->limit > 0 && (size_t)o->limit < n) n = (size_t)o->limit;
    int64_t most = o->max_tokens > 0 ? o->max_tokens : ANSWER;
    g4_batch_job *jobs = g4_arena_alloc(&l->arena, n, sizeof *jobs);
    a->made = g4_arena_alloc(&l->arena, n, sizeof *a->made);
    a->prompts = g4_arena_alloc(&l->arena, n, sizeof *a->prompts);
    if (!jobs || !a->made || !a->prompts) return g4_nomem(err, "answers");
    a->count = n;
    for (size_t i = 0; i < n; i++) {
        G4_TRY(tokens_of(l, &l->docs[i], err));
        for (size_t k = 0; k < l->prefix.count; k++)
            G4_TRY(g4_ids_push(&a->made[i], l->prefix.ids[k], err));
        a->prompts[i] = l->prefix.count;
        int32_t *ids = g4_arena_alloc(&l->arena, l->prefix.count + 1, sizeof *ids);
        if (!ids) return g4_nomem(err, "answers");
        memcpy(ids, l->prefix.ids, l->prefix.count * sizeof *ids);
        jobs[i] = (g4_batch_job){ .ids = ids, .n = (int64_t)l->prefix.count, .rows = 1,
                                  .max_tokens = most };
    }
    const g4_batch b = { .rt = l->writer, .chunk = o->chunk, .jobs = jobs, .count = n,
                         .token = answer_token, .ctx = a };
    G4_TRY(g4_batch_run(&b, err));
    for (size_t i = 0; i < n; i++)
        G4_TRY(g4_kl_text_add(l->text, a->made[i].ids, (int64_t)a->made[i].count,
                              (int64_t)(a->made[i].count - a->prompts[i]), a->made[i].ids[0], err));
    l->text->documents = n;
    l->text->ctx = l->text->longest - 1;
    return g4_kl_text_measure(l->text, l->tokenizer, err);
}

static g4_status answer(loader *l, g4_err *err)
{
    answers a = { 0 };
    g4_generate_options opt = { .sampler = g4_greedy(l->writer->model) };
    const g4_prompt none = { 0 };
    g4_stops_choose(&opt, a.stops, l->o, l->tokenizer, &none);
    a.stop_count = opt.stop_count;
    g4_status s = answer_all(l, &a, err);
    for (size_t i = 0; i < a.count; i++) g4_ids_free(&a.made[i]);
    return s;
}

/* ---- all of it ---- */

static g4_status choose(loader *l, g4_err *err)
{
    const g4_options *o = l->o;
    g4_kl_text *t = l->text;
    t->protocol = o->protocol ? o->protocol : "raw";
    t->cut = o->windows ? o->windows : "rolling";
    int self = is(t->protocol, "self"), framed = is(t->protocol, "framed");
    if (self && (o->windows || o->stride || o->ctx))
        return g4_fail(err, G4_EINPUT, "--protocol self: an answer is one window; leave out "
                       "--windows, --stride, --ctx");
    if (framed && !is(t->cut, "rolling"))
        return g4_fail(err, G4_EINPUT, "--windows %s: --protocol framed has a prompt in each "
                       "window: rolling", t->cut);
    if (o->stride && is(t->cut, "halves"))
        return g4_fail(err, G4_EINPUT, "--stride: --windows halves has none");
    if (self) t->cut = "answers";
    t->ctx = o->ctx ? o->ctx : CTX;
    t->stride = o->stride ? o->stride : is(t->cut, "lm-eval") ? t->ctx : (t->ctx + 1) / 2;
    if (is(t->cut, "halves")) t->stride = 1;
    if (t->ctx < 4 || t->ctx > G4_MAX_POSITION)
        return g4_fail(err, G4_EINPUT, "--ctx %lld: expected 4 to %d", (long long)t->ctx,
                       (int)G4_MAX_POSITION);
    G4_TRY(g4_bos_parse(&l->bos, o->bos ? o->bos : "auto", err));
    l->chat = g4_chat_defaults();
    if (is(t->protocol, "raw")) return G4_OK;
    l->chat.thinking = o->thinking;
    return g4_chat_detect_dir(&l->chat, o->model, err);
}

static g4_status load(loader *l, g4_err *err)
{
    const char *name = l->o->data;
    size_t len = strlen(name);
    G4_TRY(choose(l, err));
    int lines = len > 6 && is(name + len - 6, ".jsonl");
    G4_TRY(lines ? load_lines(l, err) : load_text(l, err));
    l->scratch = g4_arena_alloc(&l->arena, (size_t)l->text->ctx + 1, sizeof *l->scratch);
    if (!l->scratch) return g4_nomem(err, name);
    int self = is(l->text->protocol, "self");
    G4_TRY(!l->count ? G4_OK : self ? answer(l, err) : cut_all(l, err));
    if (!l->text->count)
        return g4_fail(err, G4_EINPUT, "%s: nothing to predict%s", name,
                       is(l->text->cut, "halves") ? "; --windows halves needs --ctx tokens" : "");
    if (is(l->text->cut, "halves") || self) l->text->stride = 0;
    return G4_OK;
}

g4_status g4_kl_text_open(g4_kl_text *t, const g4_options *o, const g4_runtime *writer,
                          const g4_tokenizer *tokenizer, g4_err *err)
{
    loader l = { .text = t, .o = o, .writer = writer, .tokenizer = tokenizer };
    *t = (g4_kl_text){ 0 };
    g4_status s = load(&l, err);
    g4_jsonl_free(&l.file);
    g4_ids_free(&l.prefix);
    g4_ids_free(&l.tokens);
    free(l.data);
    g4_arena_free(&l.arena);
    return s;
}
