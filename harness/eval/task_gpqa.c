/* SPDX-License-Identifier: Apache-2.0
 * GPQA (Rein et al. 2023), its diamond subset, as published: DIR/gpqa_diamond.csv, a line of
 * names and a line a question.  Prompts are those of lm-eval's tasks/gpqa, answers in the order
 * that Python's random, seeded with 0, gives them [N49].  Documents hold all columns as the
 * data set's loader (pandas) types them, for their hashes are taken of that. */
#include "harness/eval/csv.h"
#include "harness/eval/frame.h"
#include "harness/eval/pyrandom.h"
#include "harness/eval/pystr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICES = 4, SEED = 0, MAX_TOKENS = 256 /* lm-eval's where the task says none */ };

static const char *const letters[CHOICES] = { "(A)", "(B)", "(C)", "(D)" };
static const char *const until[] = { "</s>", NULL };

/* In the order in which lm-eval shuffles them. */
static const char *const wanted[CHOICES + 1] = { "Incorrect Answer 1", "Incorrect Answer 2",
                                                 "Incorrect Answer 3", "Correct Answer",
                                                 "Question" };

/* ---- columns as pandas.read_csv has them ---- */

typedef enum kind { NOTHING, BOOLEAN, INTEGER, REAL, TEXT } kind;

static int one_of(const char *s, const char *const *list)
{
    while (*list && strcmp(s, *list) != 0) list++;
    return *list != NULL;
}

static int is_missing(const char *s)
{
    static const char *const none[] = { "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN",
        "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a",
        "nan", "null", NULL };
    return one_of(s, none);
}

static int is_true(const char *s)
{
    static const char *const yes[] = { "True", "TRUE", "true", NULL };
    return one_of(s, yes);
}

static kind kind_of_cell(const char *s)
{
    static const char *const no[] = { "False", "FALSE", "false", NULL };
    char *end;
    if (is_missing(s)) return NOTHING;
    if (is_true(s) || one_of(s, no)) return BOOLEAN;
    if (strspn(s, "0123456789+-.eE ") != strlen(s)) return TEXT;
    errno = 0;
    strtoll(s, &end, 10);
    end += strspn(end, " ");
    if (end != s && !*end && !errno) return INTEGER;
    strtod(s, &end);
    end += strspn(end, " ");
    return end != s && !*end ? REAL : TEXT;
}

static kind kind_of_column(const g4_csv *csv, size_t column)
{
    kind all = NOTHING;
    int gaps = 0;
    for (size_t i = 1; i < csv->rows; i++) {
        kind k = kind_of_cell(csv->cells[i * csv->columns + column]);
        gaps |= k == NOTHING;
        if (k == NOTHING || k == all) continue;
        int number = (k == INTEGER || k == REAL) && (all == INTEGER || all == REAL);
        all = all == NOTHING ? k : number ? REAL : TEXT;
    }
    return all == INTEGER && gaps ? REAL : all;   /* integers have no gaps there */
}

static json_t *value(const char *cell, kind k)
{
    if (is_missing(cell)) return json_null();
    if (k == BOOLEAN) return json_boolean(is_true(cell));
    if (k == INTEGER) return json_integer(strtoll(cell, NULL, 10));
    return k == REAL ? json_real(strtod(cell, NULL)) : json_string(cell);
}

/* ---- documents ---- */

typedef struct reader {
    g4_eval *e;
    const char *path;
    g4_csv csv;
    size_t column[CHOICES + 1];      /* of wanted */
    kind *kinds;
    g4_py_random random;
    int worked;                      /* the answer is worked out in words */
    g4_err *err;
} reader;

static g4_status find_columns(reader *r)
{
    for (int i = 0; i <= CHOICES; i++) {
        size_t found = r->csv.columns, count = 0;
        for (size_t c = 0; r->csv.rows && c < r->csv.columns; c++)
            if (strcmp(r->csv.cells[c], wanted[i]) == 0) found = c, count++;
        if (count != 1)
            return g4_fail(r->err, G4_EINPUT, "%s: %zu columns are called %s, expected one",
                           r->path, count, wanted[i]);
        r->column[i] = found;
    }
    return G4_OK;
}

/* lm-eval's preprocess() */
static const char *tidy(g4_arena *a, const char *cell)
{
    if (is_missing(cell)) return " ";
    const char *t = g4_py_strip(a, cell);
    return g4_py_replace(a, g4_py_replace(a, t, " [title]", ". "), "  ", " ");
}

static json_t *document(const reader *r, const char *const *cells, const char *const *choices,
                        const char *answer)
{
    json_t *doc = json_object(), *list = json_array();
    char key[16];
    int bad = !doc || !list;
    for (size_t c = 0; !bad && c < r->csv.columns; c++)
        bad |= json_object_set_new(doc, r->csv.cells[c], value(cells[c], r->kinds[c])) != 0;
    for (int i = 0; !bad && i < CHOICES; i++) {
        snprintf(key, sizeof key, "choice%d", i + 1);
        bad |= json_object_set_new(doc, key, json_string(choices[i])) != 0;
        bad |= json_array_append_new(list, json_string(choices[i])) != 0;
    }
    if (!bad && r->worked) bad |= json_object_set(doc, "choices", list) != 0;
    if (!bad) bad |= json_object_set_new(doc, "answer", json_string(answer)) != 0;
    json_decref(list);
    if (!bad) return doc;
    json_decref(doc);
    return NULL;
}

/* What follows the question: continuations of one prompt, or a text. */
static int ask(const reader *r, g4_doc *d, g4_arena *a)
{
    const char **choices = g4_arena_alloc(a, CHOICES, sizeof *choices);
    if (r->worked) {
        d->until = until;
        d->max_tokens = MAX_TOKENS;
        return 1;
    }
    for (int i = 0; choices && i < CHOICES; i++)
        if (!(choices[i] = g4_frame_choice(r->e, a, letters[i]))) return 0;
    d->choices = choices;
    d->options = letters;
    d->choice_count = CHOICES;
    return choices != NULL;
}

static g4_status doc_fill(reader *r, g4_doc *d, size_t row)
{
    static const g4_before none = { 0 };
    const char *const *cells = r->csv.cells + row * r->csv.columns;
    const char *tidied[CHOICES], *c[CHOICES], *question = cells[r->column[CHOICES]];
    g4_arena *a = &r->e->arena;
    uint32_t order[CHOICES];
    if (is_missing(question) || is_missing(cells[r->column[3]]))
        return g4_fail(r->err, G4_EINPUT, "%s: row %zu: no %s", r->path, row,
                       is_missing(question) ? "Question" : "Correct Answer");
    for (int i = 0; i < CHOICES; i++)
        if (!(tidied[i] = tidy(a, cells[r->column[i]]))) return g4_nomem(r->err, r->path);
    g4_py_shuffle(&r->random, order, CHOICES);
    for (int i = 0; i < CHOICES; i++) c[i] = tidied[order[i]];
    while (d->gold < CHOICES - 1 && strcmp(c[d->gold], tidied[CHOICES - 1]) != 0) d->gold++;
    d->target = letters[d->gold];
    d->doc = document(r, cells, c, d->target);
    const char *text = g4_arena_printf(a, "What is the correct answer to this question:%s\nChoices:"
                                       "\n(A) %s\n(B) %s\n(C) %s\n(D) %s\n%s", question, c[0],
                                       c[1], c[2], c[3],
                                       r->worked ? "Let's think step by step: " : "Answer:");
    if (!d->doc || !text || !ask(r, d, a)) return g4_nomem(r->err, r->path);
    return g4_frame_text(r->e, &none, text, &d->context, r->err);
}

static g4_status load(reader *r, const g4_eval_source *src)
{
    g4_eval *e = r->e;
    G4_TRY(g4_csv_load(&r->csv, r->path, 0, &e->arena, r->err));
    G4_TRY(find_columns(r));
    r->kinds = g4_arena_alloc(&e->arena, r->csv.columns, sizeof *r->kinds);
    e->leaves = g4_arena_alloc(&e->arena, 1, sizeof *e->leaves);
    if (!r->kinds || !e->leaves) return g4_nomem(r->err, r->path);
    for (size_t c = 0; c < r->csv.columns; c++) r->kinds[c] = kind_of_column(&r->csv, c);
    *e->leaves = (g4_leaf){ .name = e->task->name, .alias = e->task->name };
    e->count = 1;
    G4_TRY(g4_leaf_init(e->leaves, e, r->csv.rows - 1, src, r->err));
    for (size_t i = 0; i < e->leaves->count; i++)
        G4_TRY(doc_fill(r, &e->leaves->docs[i], i + 1));
    return G4_OK;
}

g4_status g4_task_gpqa(g4_eval *e, const g4_eval_source *src, g4_err *err)
{
    reader r = { .e = e, .err = err, .worked = strstr(e->task->name, "_cot_") != NULL };
    if (strcmp(src->name, e->task->name) != 0)
        return g4_fail(err, G4_EINPUT, "--task %.60s: %s has no parts", src->name, e->task->name);
    if (src->shots)
        return g4_fail(err, G4_EINPUT, "--shots %lld: %s has no examples", (long long)src->shots,
                       e->task->name);
    r.path = g4_arena_printf(&e->arena, "%s/gpqa_diamond.csv", src->dir);
    g4_py_seed(&r.random, SEED);
    return r.path ? load(&r, src) : g4_nomem(err, src->dir);
}
