/* SPDX-License-Identifier: Apache-2.0
 * MMLU-Pro (Wang et al. 2024): DIR/test.jsonl and DIR/validation.jsonl, one object of
 * the published Parquet files a line (question_id, question, options, answer,
 * answer_index, cot_content, category, src).  Prompts are those of lm-eval's
 * tasks/mmlu_pro 3.1: the category's line, its first validation questions with their
 * worked steps, the question; the text that follows is searched for "answer is (X)". */
#include "harness/eval/frame.h"
#include "harness/eval/jsonl.h"
#include "harness/eval/pystr.h"

#include "ref/base/map.h"

#include <string.h>

enum { MAX_OPTIONS = 10, MAX_TOKENS = 2048 };

static const char *const until[] = { "Question:", NULL };

static const char *text_of(const g4_json *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j->root, key));
    return s;
}

/* A line that has all that a prompt needs. */
static g4_status check(const g4_json *j, int shot, g4_err *err)
{
    static const char *const keys[] = { "category", "question", "answer", "cot_content" };
    const json_t *options = json_object_get(j->root, "options"), *o;
    size_t i, bad = !json_is_array(options) || json_array_size(options) == 0;
    for (int k = 0; k < 3 + shot; k++)
        if (!text_of(j, keys[k]))
            return g4_fail(err, G4_EINPUT, "%s: %s is missing or not a text", j->file, keys[k]);
    json_array_foreach(options, i, o) bad |= !json_is_string(o);
    if (bad) return g4_fail(err, G4_EINPUT, "%s: options are missing or not texts", j->file);
    return G4_OK;
}

static const char *item(g4_arena *a, const json_t *doc)
{
    const json_t *options = json_object_get(doc, "options");
    const char *t = g4_arena_printf(a, "Question:\n%s\nOptions:\n",
                                    json_string_value(json_object_get(doc, "question")));
    for (size_t i = 0; t && i < json_array_size(options) && i < MAX_OPTIONS; i++) {
        const char *o = g4_py_strip(a, json_string_value(json_array_get(options, i)));
        t = o ? g4_arena_printf(a, "%s%c. %s\n", t, (char)('A' + i), o) : NULL;
    }
    return t ? g4_arena_printf(a, "%sAnswer: Let's think step by step.", t) : NULL;
}

/* cot_content.replace("A: Let's think step by step. ", "") */
static const char *steps(g4_arena *a, const char *text)
{
    static const char what[] = "A: Let's think step by step. ";
    char *copy = g4_arena_strndup(a, text, strlen(text));
    for (char *p = copy; p && (p = strstr(p, what));)
        memmove(p, p + sizeof what - 1, strlen(p + sizeof what - 1) + 1);
    return copy;
}

/* What stands before all questions of a category. */
static g4_status examples(g4_before *b, const g4_jsonl *val, const char *category, int64_t shots,
                          g4_arena *a, g4_err *err)
{
    g4_shot *s = g4_arena_alloc(a, (size_t)shots + 1, sizeof *s);
    b->description =
        g4_arena_printf(a, "The following are multiple choice questions (with answers) about %s. "
                        "Think step by step and then finish your answer with \"the answer is (X)\" "
                        "where X is the correct letter choice.\n", category);
    if (!s || !b->description) return g4_nomem(err, "mmlu_pro");
    b->shots = s;
    for (size_t i = 0; i < val->count && b->count < (size_t)shots; i++) {
        G4_TRY(check(&val->lines[i], 1, err));
        if (strcmp(text_of(&val->lines[i], "category"), category) != 0) continue;
        g4_shot *one = &s[b->count++];
        one->question = item(a, val->lines[i].root);
        one->answer = steps(a, text_of(&val->lines[i], "cot_content"));
        if (!one->question || !one->answer) return g4_nomem(err, "mmlu_pro");
    }
    if (b->count < (size_t)shots)
        return g4_fail(err, G4_EINPUT, "%s: %zu questions of category %.60s, too few for --shots "
                       "%lld", val->file, b->count, category, (long long)shots);
    return G4_OK;
}

static g4_status doc_fill(g4_eval *e, g4_doc *d, const g4_json *line, const g4_before *before,
                          g4_err *err)
{
    const char *q = item(&e->arena, line->root);
    d->doc = json_incref(line->root);
    d->target = g4_arena_printf(&e->arena, "%s", text_of(line, "answer"));
    d->until = until;
    d->max_tokens = MAX_TOKENS;
    if (!q || !d->target) return g4_nomem(err, line->file);
    return g4_frame_text(e, before, q, &d->context, err);
}

/* All test questions of the category of line `first`, which no leaf has yet. */
static g4_status leaf_load(g4_eval *e, const g4_jsonl *test, const g4_jsonl *val, size_t first,
                           const g4_eval_source *src, g4_err *err)
{
    const char *category = text_of(&test->lines[first], "category");
    g4_before before = { 0 };
    char *name = g4_arena_printf(&e->arena, "mmlu_pro_%s", category);
    size_t n = 0, k = 0;
    if (!name) return g4_nomem(err, test->file);
    for (char *p = name; *p; p++)
        if (*p == ' ') *p = '_';
    if (!g4_eval_wants(src, name)) return G4_OK;
    g4_leaf *leaf = &e->leaves[e->count++];
    *leaf = (g4_leaf){ .name = name, .alias = name + 9 };
    for (size_t i = first; i < test->count; i++)
        n += strcmp(text_of(&test->lines[i], "category"), category) == 0;
    G4_TRY(examples(&before, val, category, src->shots, &e->arena, err));
    G4_TRY(g4_leaf_init(leaf, e, n, src, err));
    for (size_t i = first; i < test->count && k < leaf->count; i++)
        if (strcmp(text_of(&test->lines[i], "category"), category) == 0)
            G4_TRY(doc_fill(e, &leaf->docs[k++], &test->lines[i], &before, err));
    return G4_OK;
}

static g4_status leaves_load(g4_eval *e, const g4_jsonl *test, const g4_jsonl *val,
                             const g4_eval_source *src, g4_err *err)
{
    for (size_t i = 0; i < test->count; i++) G4_TRY(check(&test->lines[i], 0, err));
    e->leaves = g4_arena_alloc(&e->arena, test->count + 1, sizeof *e->leaves);
    if (!e->leaves) return g4_nomem(err, test->file);
    for (size_t i = 0; i < test->count; i++) {
        size_t k = 0;
        while (k < i && strcmp(text_of(&test->lines[k], "category"),
                               text_of(&test->lines[i], "category")) != 0)
            k++;
        if (k == i) G4_TRY(leaf_load(e, test, val, i, src, err));
    }
    return G4_OK;
}

g4_status g4_task_mmlu_pro(g4_eval *e, const g4_eval_source *src, g4_err *err)
{
    g4_jsonl test = { 0 }, val = { 0 };
    const char *t = g4_arena_printf(&e->arena, "%s/test.jsonl", src->dir);
    const char *v = g4_arena_printf(&e->arena, "%s/validation.jsonl", src->dir);
    g4_status s = t && v ? g4_jsonl_load(&test, t, err) : g4_nomem(err, src->dir);
    if (s == G4_OK && src->shots) s = g4_jsonl_load(&val, v, err);
    if (s == G4_OK) s = leaves_load(e, &test, &val, src, err);
    g4_jsonl_free(&test);
    g4_jsonl_free(&val);
    return s;
}
