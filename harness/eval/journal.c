/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/journal.h"
#include "harness/eval/frame.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

g4_status g4_eval_answer(json_t **answer, const g4_leaf *leaf, size_t doc, g4_err *err)
{
    const g4_doc *d = &leaf->docs[doc];
    json_t *line = json_pack("{s:s, s:I, s:I, s:f}", "task", leaf->name, "doc", (json_int_t)doc,
                             "tokens", (json_int_t)d->tokens, "seconds", d->seconds);
    json_t *loglik = json_array(), *greedy = json_array();
    for (int i = 0; i < g4_doc_numbers(d); i++) {
        if (json_array_append_new(loglik, json_real(d->loglik[i])) != 0) {
            json_decref(line);
            line = NULL;
        }
        json_array_append_new(greedy, json_boolean(d->greedy[i]));
    }
    if (d->thought) json_object_set_new(line, "thought", json_integer((json_int_t)d->thought));
    if (d->response) json_object_set_new(line, "response", json_string(d->response));
    else json_object_set(line, "loglik", loglik), json_object_set(line, "greedy", greedy);
    json_decref(loglik);
    json_decref(greedy);
    if (!line || (d->response && !json_object_get(line, "response"))) {
        json_decref(line);
        return g4_fail(err, G4_EINPUT, "%s: document %zu: its answer is no number or text",
                       leaf->name, doc);
    }
    *answer = line;
    return G4_OK;
}

g4_status g4_eval_journal_add(const g4_journal *j, const g4_leaf *leaf, size_t doc, g4_err *err)
{
    json_t *line;
    G4_TRY(g4_eval_answer(&line, leaf, doc, err));
    return g4_journal_add(j, line, err);
}

/* ---- reading ---- */

/* The first line says all that a report needs. */
static int is_header(const json_t *v)
{
    const char *format, *date, *text;
    json_int_t version, n, shard = 0, shards = 0;
    json_t *config, *framed;
    g4_eval_frame frame;
    if (json_unpack((json_t *)v, "{s:s, s:I, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:s, s:s, s:o, "
                    "s:[I, I]}", "format", &format, "format_version", &version, "started", &date,
                    "task", &text, "data", &text, "frame", &framed, "shots", &n,
                    "limit", &n, "max_tokens", &n, "documents", &text, "model", &text, "config",
                    &config, "shard", &shard, &shards) != 0 ||
        !json_is_string(json_object_get(config, "model_args")) || shard < 0 || shard >= shards ||
        !g4_frame_read(&frame, framed))
        return 0;
    return strcmp(format, "gemma4-eval") == 0 && version == 2 && *date &&
           strspn(date, "0123456789-T:.") == strlen(date);
}

static g4_leaf *leaf_by_name(g4_eval *e, const char *name)
{
    for (size_t i = 0; name && i < e->count; i++)
        if (strcmp(e->leaves[i].name, name) == 0) return &e->leaves[i];
    return NULL;
}

/* 0: not an answer that this question can have, or one that it has already. */
int g4_eval_answer_take(g4_eval *e, const json_t *v, g4_leaf **leaf, size_t *doc)
{
    g4_leaf *l = leaf_by_name(e, json_string_value(json_object_get(v, "task")));
    json_int_t k = json_integer_value(json_object_get(v, "doc"));
    const json_t *loglik = json_object_get(v, "loglik"), *greedy = json_object_get(v, "greedy");
    const char *response = json_string_value(json_object_get(v, "response"));
    if (!l || !json_is_integer(json_object_get(v, "doc")) || k < 0 || (size_t)k >= l->count)
        return 0;
    g4_doc *d = &l->docs[k];
    int n = g4_doc_numbers(d);
    if (d->done || d->other || (n == 0) != (response != NULL)) return 0;
    if (json_array_size(loglik) != (size_t)n || json_array_size(greedy) != (size_t)n) return 0;
    for (int i = 0; i < n; i++) {
        if (!json_is_number(json_array_get(loglik, (size_t)i))) return 0;
        d->loglik[i] = json_number_value(json_array_get(loglik, (size_t)i));
        d->greedy[i] = json_is_true(json_array_get(greedy, (size_t)i));
    }
    if (response && !(d->response = g4_arena_printf(&e->arena, "%s", response))) return 0;
    d->tokens = json_integer_value(json_object_get(v, "tokens"));
    d->thought = json_integer_value(json_object_get(v, "thought"));
    d->seconds = json_number_value(json_object_get(v, "seconds"));
    d->done = 1;
    *leaf = l;
    *doc = (size_t)k;
    return 1;
}

static int take_answer(void *ctx, const json_t *v)
{
    g4_leaf *leaf;
    size_t doc;
    return g4_eval_answer_take(ctx, v, &leaf, &doc);
}

/* When and where a run was made does not count, nor its shard for merging. */
static const char *const run_keys[] = { "started", "data", "model_args", NULL };
static const char *const shard_keys[] = { "started", "data", "model_args", "shard", NULL };

static const char no_header[] = "is not the settings of an evaluation";
static const char no_line[] = "answers no question of this task, or one that has been";
static const g4_journal_kind one_run = { is_header, no_header, run_keys, take_answer, no_line };
static const g4_journal_kind all_shards = { is_header, no_header, shard_keys, take_answer,
                                            no_line };

g4_status g4_eval_journal_open(g4_journal *j, g4_eval *e, const char *dir, const json_t *header,
                               int resume, g4_err *err)
{
    const char *task = json_string_value(json_object_get(header, "task"));
    json_int_t shard = 0, shards = 1;
    size_t n = strlen(dir) + strlen(task) + 80;
    char *path = malloc(n);
    if (!path) return g4_nomem(err, dir);
    json_unpack((json_t *)header, "{s:[I, I]}", "shard", &shard, &shards);
    if (shards == 1) snprintf(path, n, "%s/journal_%s.jsonl", dir, task);
    else snprintf(path, n, "%s/journal_%s_%lld_of_%lld.jsonl", dir, task, (long long)shard,
                  (long long)shards);
    g4_status s = g4_journal_open(j, path, header, resume, &one_run, e, err);
    free(path);
    return s;
}

/* ---- merging ---- */

static int is_journal(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return strncmp(d->d_name, "journal_", 8) == 0 && n > 6 &&
           strcmp(d->d_name + n - 6, ".jsonl") == 0;
}

g4_status g4_eval_journals(const char *const *dirs, int count, g4_arena *a, char ***paths,
                           size_t *n, g4_err *err)
{
    *n = 0;
    *paths = NULL;
    for (int i = 0; i < count; i++) {
        struct dirent **entry;
        int found = scandir(dirs[i], &entry, is_journal, alphasort);
        if (found < 0)
            return g4_fail(err, G4_EIO, "%s: cannot open: %s", dirs[i], strerror(errno));
        char **more = g4_arena_alloc(a, *n + (size_t)found + 1, sizeof *more);
        if (more && *n) memcpy(more, *paths, *n * sizeof *more);
        for (int k = 0; k < found; k++) {
            if (more) more[*n + (size_t)k] = g4_arena_printf(a, "%s/%s", dirs[i],
                                                             entry[k]->d_name);
            free(entry[k]);
        }
        free(entry);
        *paths = more;
        *n += (size_t)found;
        for (size_t k = 0; !more || k < *n; k++)
            if (!more || !more[k]) return g4_nomem(err, dirs[i]);
        if (!found) return g4_fail(err, G4_EINPUT, "%s: holds no journal_*.jsonl", dirs[i]);
    }
    return G4_OK;
}

g4_status g4_eval_journal_header(const char *path, json_t **header, g4_err *err)
{
    return g4_journal_header(header, path, &all_shards, err);
}

g4_status g4_eval_journal_take(g4_eval *e, const char *path, const json_t *header, g4_err *err)
{
    return g4_journal_take(path, header, &all_shards, e, err);
}
