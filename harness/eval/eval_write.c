/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/eval.h"
#include "harness/eval/pystr.h"

#include "ref/base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

g4_status g4_make_folder(const char *path, g4_err *err)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && g4_path_kind(path) == 2)) return G4_OK;
    return g4_fail(err, G4_EIO, "%s: cannot make this folder: %s", path, strerror(errno));
}

/* One value and a line end. */
static g4_status put(g4_out *out, json_t *v, int indent, g4_err *err)
{
    g4_buffer b = { 0 };
    if (v) g4_py_json(&b, v, indent);
    json_decref(v);
    g4_status s = !b.data || b.failed ? g4_nomem(err, out->path)
                                      : g4_out_write(out, b.data, b.size, err);
    free(b.data);
    return s == G4_OK && !indent ? g4_out_write(out, "\n", 1, err) : s;
}

static g4_status write_leaf(const g4_eval *e, const g4_leaf *l, const char *path, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    char hashes[3][G4_SHA256_HEX];
    g4_status s = g4_out_open(&out, path, err);
    for (int m = 0; m < e->task->metric_count; m++)
        for (size_t i = 0; g4_opens_filter(e->task, m) && s == G4_OK && i < l->count; i++)
            s = put(&out, g4_eval_sample(e, &l->docs[i], i, m, hashes), 0, err);
    if (s == G4_OK) s = g4_out_commit(&out, err);
    g4_out_abort(&out);
    return s;
}

static g4_status write_results(const g4_eval *e, const g4_eval_report *r, const char *path,
                               g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    g4_status s = g4_out_open(&out, path, err);
    if (s == G4_OK) s = put(&out, g4_eval_results(e, r), 1, err);
    if (s == G4_OK) s = g4_out_commit(&out, err);
    g4_out_abort(&out);
    return s;
}

/* Results last: where they are, the samples are whole. */
static g4_status write_all(const g4_eval *e, const g4_eval_report *r, const char *dir,
                           g4_arena *a, g4_err *err)
{
    const char *date = json_string_value(json_object_get(r->header, "started"));
    char *name = g4_eval_model_name(r);
    const char *folder = name ? g4_arena_printf(a, "%s/%s", dir, name) : NULL;
    const char *path = folder ? g4_arena_printf(a, "%s/results_%s.json", folder, date) : NULL;
    free(name);
    if (!path) return g4_nomem(err, dir);
    G4_TRY(g4_make_folder(dir, err));
    G4_TRY(g4_make_folder(folder, err));
    for (size_t i = 0; i < e->count; i++) {
        const char *p = g4_arena_printf(a, "%s/samples_%s_%s.jsonl", folder, e->leaves[i].name,
                                        date);
        if (!p) return g4_nomem(err, dir);
        G4_TRY(write_leaf(e, &e->leaves[i], p, err));
    }
    return write_results(e, r, path, err);
}

g4_status g4_eval_write(const g4_eval *e, const g4_eval_report *r, const char *dir, g4_err *err)
{
    g4_arena a = { NULL };
    g4_status s = write_all(e, r, dir, &a, err);
    g4_arena_free(&a);
    return s;
}
