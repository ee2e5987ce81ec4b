/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/journal.h"
#include "harness/eval/pystr.h"

#include "ref/base/map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { MAX_JOURNAL = 1 << 30, DIGITS = 16 };

static const char opening[] = "{\"sum\":\"";   /* then DIGITS digits, then: */
static const char behind[] = "\",";

enum { LEAD = sizeof opening - 1 + DIGITS + sizeof behind - 1 };

static void line_sum(const char *rest, size_t n, char hex[G4_SHA256_HEX])
{
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    g4_sha256_add(&sha, rest, n);
    g4_sha256_end(&sha, hex);
}

/* ---- writing ---- */

/* Takes the line's reference. */
static g4_status append(const g4_eval_journal *j, json_t *line, g4_err *err)
{
    char hex[G4_SHA256_HEX];
    char *rest = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    size_t n = rest ? strlen(rest) - 1 : 0, at = 0, all = LEAD + n + 1;   /* less its { */
    char *text = rest ? malloc(all + 1) : NULL;
    g4_status s = text ? G4_OK : g4_nomem(err, j->path);
    json_decref(line);
    if (s == G4_OK) {
        line_sum(rest + 1, n, hex);
        snprintf(text, all + 1, "%s%.*s%s%s\n", opening, (int)DIGITS, hex, behind, rest + 1);
    }
    while (s == G4_OK && at < all) {
        ssize_t w = write(j->fd, text + at, all - at);
        if (w > 0) at += (size_t)w;
        else if (w < 0 && errno != EINTR)
            s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    }
    if (s == G4_OK && fsync(j->fd) != 0)
        s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    free(rest);
    free(text);
    return s;
}

g4_status g4_eval_journal_add(g4_eval_journal *j, const g4_leaf *leaf, size_t doc, g4_err *err)
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
    if (d->response) json_object_set_new(line, "response", json_string(d->response));
    else json_object_set(line, "loglik", loglik), json_object_set(line, "greedy", greedy);
    json_decref(loglik);
    json_decref(greedy);
    if (!line || (d->response && !json_object_get(line, "response"))) {
        json_decref(line);
        return g4_fail(err, G4_EINPUT, "%s: document %zu: its answer is no number or text",
                       leaf->name, doc);
    }
    return append(j, line, err);
}

void g4_eval_journal_close(g4_eval_journal *j)
{
    if (j->fd >= 0) close(j->fd);
    free(j->path);
    json_decref(j->header);
    *j = (g4_eval_journal)G4_EVAL_JOURNAL_NONE;
}

/* ---- reading ---- */

static g4_status bad(const char *path, size_t line, const char *what, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: line %zu: %s", path, line, what);
}

/* One line, without its end. */
static g4_status parse(json_t **v, const char *path, size_t number, const char *line, size_t n,
                       g4_err *err)
{
    char hex[G4_SHA256_HEX];
    *v = NULL;
    if (n <= LEAD || memcmp(line, opening, sizeof opening - 1) != 0)
        return bad(path, number, "does not begin as a journal's lines do", err);
    line_sum(line + LEAD, n - LEAD, hex);
    if (memcmp(line + sizeof opening - 1, hex, DIGITS) != 0 ||
        memcmp(line + LEAD - (sizeof behind - 1), behind, sizeof behind - 1) != 0)
        return bad(path, number, "does not agree with its checksum", err);
    *v = json_loadb(line, n, 0, NULL);
    return *v ? G4_OK : bad(path, number, "not JSON", err);
}

/* The first line says all that a report needs. */
static g4_status check_header(const char *path, const json_t *v, g4_err *err)
{
    const char *format, *date, *text;
    json_int_t version, n, shard = 0, shards = 0;
    json_t *config;
    if (json_unpack((json_t *)v, "{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:o, "
                    "s:[I, I]}", "format", &format, "format_version", &version, "started", &date,
                    "task", &text, "data", &text, "shots", &n, "limit", &n, "max_tokens", &n,
                    "documents", &text, "model", &text, "config", &config, "shard", &shard,
                    &shards) != 0 ||
        !json_is_string(json_object_get(config, "model_args")) || shard < 0 || shard >= shards)
        return bad(path, 1, "is not the settings of an evaluation", err);
    if (strcmp(format, "gemma4-eval") != 0 || version != 1 || !*date ||
        strspn(date, "0123456789-T:.") != strlen(date))
        return bad(path, 1, "is not the settings of an evaluation", err);
    return G4_OK;
}

static g4_leaf *leaf_by_name(g4_eval *e, const char *name)
{
    for (size_t i = 0; name && i < e->count; i++)
        if (strcmp(e->leaves[i].name, name) == 0) return &e->leaves[i];
    return NULL;
}

/* 0: not an answer that this question can have, or one that it has already. */
static int take_answer(g4_eval *e, const json_t *v)
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
    d->seconds = json_number_value(json_object_get(v, "seconds"));
    d->done = 1;
    return 1;
}

/* The setting in which two headers differ; NULL: in none.  When and where a run was made
 * does not count, nor does its shard for merging. */
static const char *differs(const json_t *a, const json_t *b, int merging)
{
    static const char *const free_keys[] = { "sum", "started", "data", "model_args", "shard" };
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)a, key, v) {
        const json_t *w = json_object_get(b, key);
        int counts = 1;
        for (int i = 0; i < 4 + merging; i++) counts &= strcmp(key, free_keys[i]) != 0;
        if (!counts) continue;
        const char *inner = json_is_object(v) && json_is_object(w) ? differs(v, w, merging)
                            : json_equal(v, w) ? NULL : key;
        if (inner) return inner;
    }
    return NULL;
}

/* Whole lines; *size: the bytes of them. */
static g4_status read_lines(g4_eval_journal *j, g4_eval *e, const json_t *own, int merging,
                            const char *data, size_t *size, g4_err *err)
{
    const char *end;
    size_t line = 0, at = 0;
    for (; (end = memchr(data + at, '\n', *size - at)) != NULL; at = (size_t)(end - data) + 1) {
        json_t *v;
        G4_TRY(parse(&v, j->path, ++line, data + at, (size_t)(end - data) - at, err));
        if (line == 1) {
            j->header = v;
            G4_TRY(check_header(j->path, v, err));
            const char *key = differs(own, v, merging);
            if (key) return g4_fail(err, G4_EINPUT, "%s: was made with another %s", j->path, key);
            continue;
        }
        int ok = take_answer(e, v);
        json_decref(v);
        if (!ok)
            return bad(j->path, line, "answers no question of this task, or one that has been",
                       err);
    }
    *size = at;
    return G4_OK;
}

static g4_status go_on(g4_eval_journal *j, g4_eval *e, const json_t *own, g4_err *err)
{
    uint8_t *data;
    size_t size, all;
    G4_TRY(g4_file_read(j->path, MAX_JOURNAL, &data, &size, err));
    all = size;
    g4_status s = read_lines(j, e, own, 0, (char *)data, &size, err);
    free(data);
    if (s == G4_OK && size < all && ftruncate(j->fd, (off_t)size) != 0)
        s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    return s;
}

static g4_status sync_folder(const char *dir, g4_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0;
    if (fd >= 0) close(fd);
    return failed ? g4_fail(err, G4_EIO, "%s: cannot write: %s", dir, strerror(errno)) : G4_OK;
}

static g4_status open_file(g4_eval_journal *j, g4_eval *e, const char *dir, const json_t *header,
                           int resume, g4_err *err)
{
    int there = g4_path_kind(j->path) != 0;
    if (there && !resume)
        return g4_fail(err, G4_EINPUT, "%s: is there already; --resume goes on with it", j->path);
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0)
        return g4_fail(err, G4_EIO, "%s: cannot open: %s", j->path, strerror(errno));
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return g4_fail(err, G4_EINPUT, "%s: another run is writing it", j->path);
    if (there) G4_TRY(go_on(j, e, header, err));
    if (j->header) return G4_OK;
    j->header = json_deep_copy(header);
    G4_TRY(append(j, json_deep_copy(header), err));
    return sync_folder(dir, err);
}

g4_status g4_eval_journal_open(g4_eval_journal *j, g4_eval *e, const char *dir,
                               const json_t *header, int resume, g4_err *err)
{
    const char *task = json_string_value(json_object_get(header, "task"));
    json_int_t shard = 0, shards = 1;
    size_t n = strlen(dir) + strlen(task) + 80;
    *j = (g4_eval_journal)G4_EVAL_JOURNAL_NONE;
    json_unpack((json_t *)header, "{s:[I, I]}", "shard", &shard, &shards);
    if (!(j->path = malloc(n))) return g4_nomem(err, dir);
    if (shards == 1) snprintf(j->path, n, "%s/journal_%s.jsonl", dir, task);
    else snprintf(j->path, n, "%s/journal_%s_%lld_of_%lld.jsonl", dir, task, (long long)shard,
                  (long long)shards);
    return open_file(j, e, dir, header, resume, err);
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
    uint8_t *data;
    size_t size;
    *header = NULL;
    G4_TRY(g4_file_read(path, MAX_JOURNAL, &data, &size, err));
    const char *end = size ? memchr(data, '\n', size) : NULL;
    g4_status s = end ? parse(header, path, 1, (char *)data, (size_t)(end - (char *)data), err)
                      : bad(path, 1, "is not whole", err);
    free(data);
    return s == G4_OK ? check_header(path, *header, err) : s;
}

g4_status g4_eval_journal_take(g4_eval_journal *j, g4_eval *e, const char *path,
                               const json_t *header, g4_err *err)
{
    uint8_t *data;
    size_t size;
    *j = (g4_eval_journal)G4_EVAL_JOURNAL_NONE;
    if (!(j->path = malloc(strlen(path) + 1))) return g4_nomem(err, path);
    strcpy(j->path, path);
    G4_TRY(g4_file_read(path, MAX_JOURNAL, &data, &size, err));
    g4_status s = read_lines(j, e, header, 1, (char *)data, &size, err);
    free(data);
    return s;
}
