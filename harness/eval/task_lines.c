/* SPDX-License-Identifier: Apache-2.0
 * Tasks whose questions are the lines of one file, as lm-eval has their documents:
 *   DIR/validation.jsonl  hellaswag, winogrande, piqa, boolq
 *   DIR/test.jsonl        arc_easy, arc_challenge, gsm8k
 *   DIR/train.jsonl       examples, drawn as lm-eval draws them
 * Prompts are those of lm-eval's tasks/<name>. */
#include "harness/eval/frame.h"
#include "harness/eval/jsonl.h"
#include "harness/eval/pyrandom.h"
#include "harness/eval/pystr.h"

#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CHOICES = 16, SHOT_SEED = 1234 /* lm-eval's fewshot_random_seed */ };

/* A line as a question, without examples before it. */
typedef struct item {
    json_t *doc;                 /* owned by the leaf's documents, or freed with the examples */
    const char *text;            /* the question */
    const char *const *texts;    /* or one for each choice */
    const char *const *options;  /* [n] that may follow, without the blank before */
    int n, gold;
    const char *target;          /* str() of the answer, as lm-eval has it */
    const char *answer;          /* what follows in an example */
} item;

typedef struct reader {
    const g4_json *line;
    g4_arena *a;
    g4_err *err;
} reader;

typedef g4_status read_item(item *to, reader *r);

static g4_status get(const reader *r, const char *key, const char **to)
{
    const char *s = json_string_value(json_object_get(r->line->root, key));
    if (!s) return g4_fail(r->err, G4_EINPUT, "%s: %s is missing or not a text", r->line->file,
                           key);
    *to = g4_arena_printf(r->a, "%s", s);
    return *to ? G4_OK : g4_nomem(r->err, r->line->file);
}

/* A number from 0 to n - 1, or its digits. */
static g4_status get_label(const reader *r, const char *key, int n, int *to)
{
    const json_t *v = json_object_get(r->line->root, key);
    const char *s = json_string_value(v);
    long long k = json_is_integer(v) ? json_integer_value(v) : -1;
    if (s && *s >= '0' && *s <= '9' && strlen(s) < 3) k = atoi(s);
    if (k < 0 || k >= n)
        return g4_fail(r->err, G4_EINPUT, "%s: %s is not a number from 0 to %d", r->line->file,
                       key, n - 1);
    *to = (int)k;
    return G4_OK;
}

/* The texts of an array that is member `key` of v. */
static g4_status get_texts(const reader *r, const json_t *v, const char *key,
                           const char ***to, int *n)
{
    const json_t *list = json_object_get(v, key), *one;
    const char **copy = g4_arena_alloc(r->a, MAX_CHOICES, sizeof *copy);
    size_t i;
    *n = (int)json_array_size(list);
    if (*n < 1 || *n > MAX_CHOICES)
        return g4_fail(r->err, G4_EINPUT, "%s: %s is not a list of 1 to %d texts", r->line->file,
                       key, (int)MAX_CHOICES);
    if (!copy) return g4_nomem(r->err, r->line->file);
    json_array_foreach(list, i, one) {
        const char *s = json_string_value(one);
        if (!s) return g4_fail(r->err, G4_EINPUT, "%s: %s holds something not a text",
                               r->line->file, key);
        if (!(copy[i] = g4_arena_printf(r->a, "%s", s))) return g4_nomem(r->err, r->line->file);
    }
    *to = copy;
    return G4_OK;
}

/* The choice that is right is the answer, its number the target. */
static g4_status finish(item *to, const reader *r, const char *text)
{
    to->text = text;
    to->target = g4_arena_printf(r->a, "%d", to->gold);
    to->answer = to->options[to->gold];
    return text && to->target ? G4_OK : g4_nomem(r->err, r->line->file);
}

/* ---- the tasks ---- */

static g4_status read_arc(item *to, reader *r)
{
    const char *question, *key, **labels, **texts;
    int n;
    const json_t *choices = json_object_get(r->line->root, "choices");
    G4_TRY(get(r, "question", &question));
    G4_TRY(get(r, "answerKey", &key));
    G4_TRY(get_texts(r, choices, "text", &texts, &to->n));
    G4_TRY(get_texts(r, choices, "label", &labels, &n));
    to->options = texts;
    to->gold = -1;
    for (int i = n; i-- > 0;)
        if (strcmp(labels[i], key) == 0) to->gold = i;
    if (to->gold < 0 || n != to->n)
        return g4_fail(r->err, G4_EINPUT, "%s: answerKey '%.20s' is none of %d labels",
                       r->line->file, key, n);
    return finish(to, r, g4_arena_printf(r->a, "Question: %s\nAnswer:", question));
}

static g4_status read_piqa(item *to, reader *r)
{
    const char *goal, **options = g4_arena_alloc(r->a, 2, sizeof *options);
    if (!options) return g4_nomem(r->err, r->line->file);
    G4_TRY(get(r, "goal", &goal));
    G4_TRY(get(r, "sol1", &options[0]));
    G4_TRY(get(r, "sol2", &options[1]));
    G4_TRY(get_label(r, "label", 2, &to->gold));
    to->options = options;
    to->n = 2;
    return finish(to, r, g4_arena_printf(r->a, "Question: %s\nAnswer:", goal));
}

static g4_status read_boolq(item *to, reader *r)
{
    static const char *const options[] = { "no", "yes" };
    const char *passage, *question;
    G4_TRY(get(r, "passage", &passage));
    G4_TRY(get(r, "question", &question));
    G4_TRY(get_label(r, "label", 2, &to->gold));
    to->options = options;
    to->n = 2;
    return finish(to, r, g4_arena_printf(r->a, "%s\nQuestion: %s?\nAnswer:", passage, question));
}

/* The sentence up to the gap with each option in it; what comes behind the gap is scored. */
static g4_status read_winogrande(item *to, reader *r)
{
    const char *sentence, *option = NULL, *gap, *key;
    const char **texts = g4_arena_alloc(r->a, 2, sizeof *texts);
    const char **tails = g4_arena_alloc(r->a, 2, sizeof *tails);
    if (!texts || !tails) return g4_nomem(r->err, r->line->file);
    G4_TRY(get(r, "sentence", &sentence));
    G4_TRY(get(r, "answer", &key));
    if (!(gap = strchr(sentence, '_')))
        return g4_fail(r->err, G4_EINPUT, "%s: sentence has no _", r->line->file);
    if ((*key != '1' && *key != '2') || key[1])
        return g4_fail(r->err, G4_EINPUT, "%s: answer is neither 1 nor 2", r->line->file);
    for (int i = 0; i < 2; i++) {
        G4_TRY(get(r, i ? "option2" : "option1", &option));
        texts[i] = g4_arena_printf(r->a, "%.*s%s", (int)(gap - sentence), sentence, option);
        if (!texts[i]) return g4_nomem(r->err, r->line->file);
    }
    tails[0] = tails[1] = to->target = to->answer = g4_py_strip(r->a, gap + 1);
    to->texts = texts;
    to->options = tails;
    to->n = 2;
    to->gold = *key - '1';
    return to->target ? G4_OK : g4_nomem(r->err, r->line->file);
}

static g4_status read_gsm8k(item *to, reader *r)
{
    const char *question;
    G4_TRY(get(r, "question", &question));
    G4_TRY(get(r, "answer", &to->target));
    to->answer = to->target;
    to->text = g4_arena_printf(r->a, "Question: %s\nAnswer:", question);
    return to->text ? G4_OK : g4_nomem(r->err, r->line->file);
}

/* lm-eval's tasks/hellaswag/utils.py: strip, " [title]" is ". ", brackets go ("." of its
 * expression is no line end), pairs of blanks are one. */
static const char *tidy(g4_arena *a, const char *text)
{
    const char *t = g4_py_replace(a, g4_py_strip(a, text), " [title]", ". ");
    char *out = t ? g4_arena_alloc(a, strlen(t) + 1, 1) : NULL;
    size_t n = 0;
    for (const char *p = t; out && *p; p++) {
        size_t len = *p == '[' ? strcspn(p, "]\n") : 0;
        if (len && p[len] == ']') p += len;
        else out[n++] = *p;
    }
    return g4_py_replace(a, out, "  ", " ");
}

static g4_status read_hellaswag(item *to, reader *r)
{
    const char *label, *a, *b, **endings;
    G4_TRY(get(r, "activity_label", &label));
    G4_TRY(get(r, "ctx_a", &a));
    G4_TRY(get(r, "ctx_b", &b));
    G4_TRY(get_texts(r, r->line->root, "endings", &endings, &to->n));
    G4_TRY(get_label(r, "label", to->n, &to->gold));
    json_t *choices = json_array();
    const char *big = g4_py_capitalize(r->a, b);
    const char *query = big ? g4_arena_printf(r->a, "%s: %s %s", label, a, big) : NULL;
    query = query ? tidy(r->a, query) : NULL;
    int bad = !query;
    for (int i = 0; i < to->n; i++) {
        endings[i] = tidy(r->a, endings[i]);
        bad |= !endings[i] || json_array_append_new(choices, json_string(endings[i])) != 0;
    }
    to->options = endings;
    json_t *doc = json_copy(r->line->root);
    bad |= !query || json_object_set_new(doc, "query", json_string(query)) != 0;
    bad |= json_object_set_new(doc, "choices", choices) != 0;
    bad |= json_object_set_new(doc, "gold", json_integer(to->gold)) != 0;
    to->doc = doc;
    return bad ? g4_nomem(r->err, r->line->file) : finish(to, r, query);
}

static const char *const gsm8k_until[] = { "Question:", "</s>", "<|im_end|>", NULL };

/* of_train: an example is drawn beside the question itself, which is then left out (lm-eval
 * does so where neither the examples' split nor a test split has a name). */
static const struct kind {
    const char *name, *split;
    read_item *read;
    int without;
    const char *const *until;
    int max_tokens;
} kinds[] = {
    { "hellaswag", "validation", read_hellaswag, 1, NULL, 0 },
    { "arc_easy", "test", read_arc, 0, NULL, 0 },
    { "arc_challenge", "test", read_arc, 0, NULL, 0 },
    { "winogrande", "validation", read_winogrande, 1, NULL, 0 },
    { "piqa", "validation", read_piqa, 1, NULL, 0 },
    { "boolq", "validation", read_boolq, 1, NULL, 0 },
    { "gsm8k", "test", read_gsm8k, 0, gsm8k_until, 256 },
};

/* ---- examples ---- */

typedef struct shots {
    item *items;                 /* [count] of train.jsonl */
    uint32_t count;
    g4_py_random random;
    uint32_t *drawn, *scratch, *others;   /* [count] */
} shots;

/* Draws k of them for a question; out [k]. */
static g4_status draw(shots *s, const json_t *own, uint32_t k, uint32_t *out, const char *file,
                      g4_err *err)
{
    uint32_t want = own ? k + 1 : k, n = 0;
    if (want > s->count)
        return g4_fail(err, G4_EINPUT, "%s: %u examples are too few for --shots %u", file,
                       s->count, k);
    g4_py_sample(&s->random, s->count, want, s->drawn, s->scratch);
    for (uint32_t i = 0; i < want && n < k; i++)
        if (!own || !json_equal(own, s->items[s->drawn[i]].doc)) out[n++] = s->drawn[i];
    if (n == k) return G4_OK;
    for (uint32_t i = n = 0; i < s->count; i++)   /* it was there twice: among all others */
        if (!json_equal(own, s->items[i].doc)) s->others[n++] = i;
    if (n < k)
        return g4_fail(err, G4_EINPUT, "%s: too few examples beside the question itself", file);
    g4_py_sample(&s->random, n, k, s->drawn, s->scratch);
    for (uint32_t i = 0; i < k; i++) out[i] = s->others[s->drawn[i]];
    return G4_OK;
}

/* What stands before a question. */
static g4_status examples(g4_before *b, shots *s, const item *of, const struct kind *kind,
                          uint32_t k, reader *r)
{
    uint32_t chosen[1000];       /* --shots' most */
    if (!k) return G4_OK;
    G4_TRY(draw(s, kind->without ? of->doc : NULL, k, chosen, "train.jsonl", r->err));
    g4_shot *list = g4_arena_alloc(r->a, k, sizeof *list);
    if (!list) return g4_nomem(r->err, "train.jsonl");
    for (uint32_t i = 0; i < k; i++) {
        const item *t = &s->items[chosen[i]];
        list[i] = (g4_shot){ t->texts ? t->texts[t->gold] : t->text, t->answer };
    }
    b->shots = list;
    b->count = k;
    return G4_OK;
}

static g4_status shots_load(shots *s, const g4_jsonl *f, const struct kind *kind, reader *r)
{
    size_t n = f->count + 1;
    s->items = g4_arena_alloc(r->a, n, sizeof *s->items);
    s->drawn = g4_arena_alloc(r->a, n, sizeof *s->drawn);
    s->scratch = g4_arena_alloc(r->a, n, sizeof *s->scratch);
    s->others = g4_arena_alloc(r->a, n, sizeof *s->others);
    g4_py_seed(&s->random, SHOT_SEED);
    if (!s->items || !s->drawn || !s->scratch || !s->others) return g4_nomem(r->err, f->file);
    for (size_t i = 0; i < f->count; i++) {
        r->line = &f->lines[i];
        s->count++;
        G4_TRY(kind->read(&s->items[i], r));
        if (!s->items[i].doc) s->items[i].doc = json_incref(r->line->root);
    }
    return G4_OK;
}

/* ---- documents ---- */

static g4_status doc_fill(g4_eval *e, g4_doc *d, const item *t, const g4_before *before,
                          const struct kind *kind, reader *r)
{
    const char **choices = g4_arena_alloc(r->a, (size_t)t->n + 1, sizeof *choices);
    const char **contexts = g4_arena_alloc(r->a, (size_t)t->n + 1, sizeof *contexts);
    if (!choices || !contexts) return g4_nomem(r->err, r->line->file);
    for (int i = 0; i < t->n; i++) {
        if (!(choices[i] = g4_frame_choice(e, r->a, t->options[i])))
            return g4_nomem(r->err, r->line->file);
        if (t->texts) G4_TRY(g4_frame_text(e, before, t->texts[i], &contexts[i], r->err));
    }
    d->choices = choices;
    d->options = t->options;
    d->choice_count = t->n;
    d->gold = t->gold;
    d->target = t->target;
    d->until = kind->until;
    d->max_tokens = kind->max_tokens;
    if (!t->texts) return g4_frame_text(e, before, t->text, &d->context, r->err);
    d->contexts = contexts;
    d->context = contexts[0];
    return G4_OK;
}

static g4_status leaf_load(g4_eval *e, const g4_jsonl *test, const g4_jsonl *train, shots *s,
                           const struct kind *kind, const g4_eval_source *src, g4_err *err)
{
    reader r = { .a = &e->arena, .err = err };
    g4_leaf *leaf = e->leaves = g4_arena_alloc(r.a, 1, sizeof *e->leaves);
    if (!leaf) return g4_nomem(err, test->file);
    e->count = 1;
    *leaf = (g4_leaf){ .name = kind->name, .alias = kind->name };
    G4_TRY(g4_leaf_init(leaf, e, test->count, src, err));
    if (!leaf->count) return g4_fail(err, G4_EINPUT, "%s: holds no questions", test->file);
    if (src->shots) G4_TRY(shots_load(s, train, kind, &r));
    for (size_t i = 0; i < leaf->count; i++) {
        item t = { .gold = -1 };
        g4_before before = { 0 };
        r.line = &test->lines[i];
        g4_status st = kind->read(&t, &r);
        leaf->docs[i].doc = t.doc ? t.doc : json_incref(r.line->root);
        t.doc = leaf->docs[i].doc;
        G4_TRY(st);
        G4_TRY(examples(&before, s, &t, kind, (uint32_t)src->shots, &r));
        G4_TRY(doc_fill(e, &leaf->docs[i], &t, &before, kind, &r));
    }
    return G4_OK;
}

g4_status g4_task_lines(g4_eval *e, const g4_eval_source *src, g4_err *err)
{
    g4_jsonl test = { 0 }, train = { 0 };
    shots s = { 0 };
    const struct kind *kind = kinds;
    while (strcmp(kind->name, e->task->name) != 0) kind++;
    if (strcmp(src->name, kind->name) != 0)
        return g4_fail(err, G4_EINPUT, "--task %.60s: %s has no parts", src->name, kind->name);
    const char *path = g4_arena_printf(&e->arena, "%s/%s.jsonl", src->dir, kind->split);
    const char *examples = g4_arena_printf(&e->arena, "%s/train.jsonl", src->dir);
    g4_status st = path && examples ? g4_jsonl_load(&test, path, err) : g4_nomem(err, src->dir);
    if (st == G4_OK && src->shots) st = g4_jsonl_load(&train, examples, err);
    if (st == G4_OK) st = leaf_load(e, &test, &train, &s, kind, src, err);
    for (uint32_t i = 0; i < s.count; i++) json_decref(s.items[i].doc);
    g4_jsonl_free(&test);
    g4_jsonl_free(&train);
    return st;
}
