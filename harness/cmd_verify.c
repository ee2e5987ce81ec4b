/* SPDX-License-Identifier: Apache-2.0
 * gemma4 verify --model MODEL GOLDEN.h5...: each file run and compared.  One
 * file: the whole table; several: a line each, and the table of those that fell
 * short.  Exit 0: all held; 1: one did not; 2: a file is bad. */
#include "harness/options.h"
#include "harness/verify.h"

static g4_status print_json(json_t *root, g4_err *err)
{
    int bad = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0;
    if (bad || putchar('\n') == EOF)
        return g4_fail(err, G4_EIO, "standard output: cannot write");
    return G4_OK;
}

static void print_text(const g4_compare *c, const char *path, int only)
{
    g4_compare_sum sum = g4_compare_finish(c);
    if (only || !sum.held) g4_compare_table(c, stdout);
    if (only) return;
    printf("%s  %s  %zu datasets, worst relative L2 %.2e at %s\n", sum.held ? "held " : "SHORT",
           path, sum.compared, sum.worst ? sum.worst->diff.relative_l2 : 0.0,
           sum.worst ? g4_compare_short(sum.worst->set->path) : "-");
    fflush(stdout);
}

/* One file's object as `compare --json` gives it; several: {"held", "worst",
 * "files": [...], "datasets": all of them}. */
static g4_status gather(json_t *files, const g4_compare *c, const char *path, g4_err *err)
{
    json_t *one = g4_compare_json(c);
    if (!one) return g4_nomem(err, "JSON");
    if (json_object_set_new(one, "file", json_string(path)) != 0 ||
        json_array_append_new(files, one) != 0)
        return g4_nomem(err, "JSON");
    return G4_OK;
}

static g4_status print_files(json_t *files, int held, g4_err *err)
{
    if (json_array_size(files) == 1) return print_json(json_array_get(files, 0), err);
    json_t *root = json_pack("{s:b}", "held", held), *all = json_array(), *file;
    size_t i;
    double most = -1.0;
    int bad = !root || !all;
    json_array_foreach(files, i, file) {
        json_t *worst = json_object_get(file, "worst");
        bad = bad || json_array_extend(all, json_object_get(file, "datasets")) != 0;
        if (!json_is_null(worst) && !(json_number_value(worst) <= most)) {
            most = json_number_value(worst);
            bad = bad || json_object_set(root, "worst", worst) != 0 ||
                  json_object_set(root, "worst_file", json_object_get(file, "file")) != 0;
        }
    }
    bad = bad || json_object_set(root, "files", files) != 0;
    bad = json_object_set_new(root, "datasets", all) != 0 || bad;
    g4_status s = bad ? g4_nomem(err, "JSON") : print_json(root, err);
    json_decref(root);
    return s;
}

static g4_status report(json_t *files, g4_compare *c, const g4_options *o, const char *path,
                        int *held, g4_err *err)
{
    *held &= g4_compare_finish(c).held;
    if (o->json) return gather(files, c, path, err);
    print_text(c, path, o->arg_count == 1);
    return G4_OK;
}

static g4_status work(const g4_runtime *rt, const g4_options *o, json_t *files, int *held,
                      g4_err *err)
{
    g4_verify_options v = { .mask = o->mask, .chunk = o->chunk, .keep_draft = o->draft != NULL };
    for (int at = 0, n; at < o->arg_count; at += n) {
        g4_compare *c[G4_MAX_ARGS];
        g4_status s = G4_OK;
        G4_TRY(g4_verify(c, &n, rt, o->args + at, o->arg_count - at, &v, err));
        for (int i = 0; i < n; i++) {
            if (s == G4_OK) s = report(files, c[i], o, o->args[at + i], held, err);
            g4_compare_close(c[i]);
        }
        G4_TRY(s);
    }
    return o->json ? print_files(files, *held, err) : G4_OK;
}

int cmd_verify(const g4_options *o, g4_err *err)
{
    g4_runtime rt;
    int held = 1;
    json_t *files = json_array();
    g4_status s = files ? g4_runtime_open(&rt, o, G4_DRAFT_IF_THERE, err) : g4_nomem(err, "JSON");
    if (s == G4_OK) s = work(&rt, o, files, &held, err);
    if (files) g4_runtime_close(&rt);
    json_decref(files);
    return s != G4_OK ? 2 : held ? 0 : 1;
}
