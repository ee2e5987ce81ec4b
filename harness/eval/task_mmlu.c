/* SPDX-License-Identifier: Apache-2.0
 * MMLU (Hendrycks et al. 2021) from its published files:
 *   DIR/{dev,test}/<subject>_{dev,test}.csv   question,A,B,C,D,letter; no header
 * (DIR may also be the folder above, the one that has data/).  Prompts are those of
 * lm-eval's tasks/mmlu/default: the subject's line, the first dev rows with their
 * letters, the question; scored by the log-likelihood of " A" to " D". */
#include "harness/eval/csv.h"
#include "harness/eval/frame.h"
#include "harness/eval/pystr.h"

#include "ref/base/map.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static const char *const letters[4] = { "A", "B", "C", "D" };

/* lm-eval's groups of the published subjects. */
static const struct { const char *subject, *group; } groups[] = {
#define G4_SUBJECT(subject, group) { #subject, "mmlu_" #group },
#include "harness/eval/mmlu_subjects.def"
#undef G4_SUBJECT
};

static const char *group_of(const char *subject)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (strcmp(groups[i].subject, subject) == 0) return groups[i].group;
    return NULL;
}

static const char *item(g4_arena *a, const char *const *cell)
{
    const char *q = g4_py_strip(a, cell[0]);
    return !q ? NULL : g4_arena_printf(a, "%s\nA. %s\nB. %s\nC. %s\nD. %s\nAnswer:", q, cell[1],
                                       cell[2], cell[3], cell[4]);
}

static g4_status answer(const char *path, size_t row, const char *cell, int *gold, g4_err *err)
{
    *gold = cell[0] - 'A';
    if (cell[0] && !cell[1] && *gold >= 0 && *gold < 4) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: row %zu: the answer is '%.20s', expected A, B, C or D",
                   path, row + 1, cell);
}

/* What stands before all questions of a subject. */
static g4_status examples(g4_before *b, const char *subject, const char *path, int64_t shots,
                          g4_arena *a, g4_err *err)
{
    g4_csv csv;
    char *name = g4_arena_strndup(a, subject, strlen(subject));
    int gold;
    for (char *p = name; p && *p; p++)
        if (*p == '_') *p = ' ';
    b->description = name ? g4_arena_printf(a, "The following are multiple choice questions (with "
                                            "answers) about %s.\n\n", name) : NULL;
    if (!b->description) return g4_nomem(err, path);
    if (!shots) return G4_OK;
    G4_TRY(g4_csv_load(&csv, path, 6, a, err));
    if ((uint64_t)shots > csv.rows)
        return g4_fail(err, G4_EINPUT, "%s: %zu rows are too few for --shots %lld", path, csv.rows,
                       (long long)shots);
    g4_shot *s = g4_arena_alloc(a, (size_t)shots, sizeof *s);
    if (!s) return g4_nomem(err, path);
    b->shots = s;
    b->count = (size_t)shots;
    for (size_t i = 0; i < b->count; i++) {
        const char *const *cell = csv.cells + 6 * i;
        G4_TRY(answer(path, i, cell[5], &gold, err));
        s[i] = (g4_shot){ item(a, cell), cell[5] };
        if (!s[i].question) return g4_nomem(err, path);
    }
    return G4_OK;
}

static g4_status doc_fill(g4_eval *e, g4_doc *d, const char *subject, const char *const *cell,
                          const g4_before *before, const char *const *choices, g4_err *err)
{
    const char *q = item(&e->arena, cell);
    d->doc = json_pack("{s:s, s:s, s:[s, s, s, s], s:i}", "question", cell[0], "subject", subject,
                       "choices", cell[1], cell[2], cell[3], cell[4], "answer", d->gold);
    d->target = g4_arena_printf(&e->arena, "%d", d->gold);
    d->choices = choices;
    d->choice_count = 4;
    if (!q || !d->doc || !d->target) return g4_nomem(err, subject);
    return g4_frame_text(e, before, q, &d->context, err);
}

static g4_status leaf_load(g4_eval *e, g4_leaf *leaf, const char *subject, const char *dir,
                           const g4_eval_source *src, g4_err *err)
{
    g4_arena *a = &e->arena;
    g4_csv csv;
    g4_before before = { 0 };
    const char *dev = g4_arena_printf(a, "%s/dev/%s_dev.csv", dir, subject);
    const char *test = g4_arena_printf(a, "%s/test/%s_test.csv", dir, subject);
    const char **choices = g4_arena_alloc(a, 4, sizeof *choices);
    for (int i = 0; choices && i < 4; i++)
        if (!(choices[i] = g4_frame_choice(e, a, letters[i]))) choices = NULL;
    if (!dev || !test || !choices) return g4_nomem(err, dir);
    G4_TRY(examples(&before, subject, dev, src->shots, a, err));
    G4_TRY(g4_csv_load(&csv, test, 6, a, err));
    if (!csv.rows) return g4_fail(err, G4_EINPUT, "%s: holds no questions", test);
    G4_TRY(g4_leaf_init(leaf, e, csv.rows, src, err));
    for (size_t i = 0; i < leaf->count; i++) {
        const char *const *cell = csv.cells + 6 * i;
        G4_TRY(answer(test, i, cell[5], &leaf->docs[i].gold, err));
        G4_TRY(doc_fill(e, &leaf->docs[i], subject, cell, &before, choices, err));
    }
    return G4_OK;
}

static int is_test(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 9 && strcmp(d->d_name + n - 9, "_test.csv") == 0;
}

g4_status g4_task_mmlu(g4_eval *e, const g4_eval_source *src, g4_err *err)
{
    struct dirent **entry;
    g4_arena *a = &e->arena;
    const char *dir = g4_arena_printf(a, "%s/data", src->dir);
    int kind = dir ? g4_path_kind(dir) : 0;
    if (dir && kind != 2 && kind != 4) dir = src->dir;   /* 4: reading it says why */
    const char *test = dir ? g4_arena_printf(a, "%s/test", dir) : NULL;
    if (!test) return g4_nomem(err, src->dir);
    int n = scandir(test, &entry, is_test, alphasort);
    if (n <= 0) {
        if (n == 0) free(entry);
        return g4_fail(err, G4_EINPUT, "%s: holds no <subject>_test.csv", test);
    }
    g4_status s = G4_OK;
    e->leaves = g4_arena_alloc(a, (size_t)n, sizeof *e->leaves);
    if (!e->leaves) s = g4_nomem(err, test);
    for (int i = 0; i < n; i++) {
        char *subject = entry[i]->d_name;
        subject[strlen(subject) - 9] = 0;
        const char *name = g4_arena_printf(a, "mmlu_%s", subject);
        if (s == G4_OK && !name) s = g4_nomem(err, test);
        if (s == G4_OK && g4_eval_wants(src, name)) {
            g4_leaf *leaf = &e->leaves[e->count++];
            *leaf = (g4_leaf){ .name = name, .alias = name + 5, .group = group_of(name + 5) };
            s = leaf_load(e, leaf, name + 5, dir, src, err);
        }
        free(entry[i]);
    }
    free(entry);
    return s;
}
