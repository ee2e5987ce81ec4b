/* SPDX-License-Identifier: Apache-2.0
 * The objects of lm-eval's result files (0.4.13: evaluator.py, loggers/
 * evaluation_tracker.py), keys in their order.  What only Python could know is null. */
#include "harness/eval/eval.h"
#include "harness/eval/pystr.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* str() of a float: the shortest text that reads back as the same number. */
static json_t *number_text(double v)
{
    g4_buffer b = { 0 };
    json_t *n = json_real(v), *s = NULL;
    if (n) g4_py_json(&b, n, 0);
    if (b.data && !b.failed) s = json_string(b.data);
    json_decref(n);
    free(b.data);
    return s;
}

static json_t *real_or(double v, const char *other)
{
    return isfinite(v) ? json_real(v) : json_string(other);
}

/* ---- a document ---- */

static json_t *arguments(const g4_doc *d)
{
    json_t *all = json_object();
    char key[32];
    for (int i = 0; i < d->choice_count; i++) {
        snprintf(key, sizeof key, "gen_args_%d", i);
        json_object_set_new(all, key, json_pack("{s:s, s:s}", "arg_0",
                                                d->contexts ? d->contexts[i] : d->context,
                                                "arg_1", d->choices[i]));
    }
    if (d->rolling)
        json_object_set_new(all, "gen_args_0", json_pack("{s:s}", "arg_0", d->context));
    if (g4_doc_numbers(d)) return all;
    json_t *until = json_array();
    for (int i = 0; d->until && d->until[i]; i++)
        json_array_append_new(until, json_string(d->until[i]));
    json_t *how = json_pack("{s:o, s:I, s:b, s:f}", "until", until, "max_gen_toks",
                            (json_int_t)d->max_tokens, "do_sample", 0, "temperature", 0.0);
    json_object_set_new(all, "gen_args_0",
                        json_pack("{s:s, s:o}", "arg_0", d->context, "arg_1", how));
    return all;
}

/* resps: a list for each request; filtered: what metric m's filter left of them. */
static void responses(const g4_doc *d, int m, json_t **resps, json_t **filtered)
{
    *resps = json_array();
    *filtered = json_array();
    for (int i = 0; i < d->choice_count; i++) {
        json_t *one = json_pack("[o, s]", number_text(d->loglik[i]),
                                d->greedy[i] ? "True" : "False");
        json_array_append_new(*resps, json_pack("[O]", one));
        json_array_append_new(*filtered, one);
    }
    if (d->rolling) {
        json_t *one = number_text(d->loglik[0]);
        json_array_append_new(*resps, json_pack("[O]", one));
        json_array_append_new(*filtered, one);
    }
    if (g4_doc_numbers(d)) return;
    json_array_append_new(*resps, json_pack("[s]", d->response));
    json_array_append_new(*filtered, json_string(d->filtered[m]));
}

/* A document's part of the mean. */
static json_t *score_of(const g4_metric *how, const g4_doc *d, int m)
{
    if (!d->rolling) return json_real(d->score[m]);
    return json_pack("[f, I]", d->loglik[0],
                     (json_int_t)(how->of == G4_PER_WORD ? d->words : d->bytes));
}

/* The metrics of the filter that metric m opens, and their values. */
static void add_scores(json_t *sample, const g4_task *t, const g4_doc *d, int m)
{
    json_t *names = json_object_get(sample, "metrics");
    for (int first = m; m < t->metric_count && (m == first || !g4_opens_filter(t, m)); m++) {
        json_array_append_new(names, json_string(t->metrics[m].name));
        json_object_set_new(sample, t->metrics[m].name, score_of(&t->metrics[m], d, m));
    }
}

json_t *g4_eval_sample(const g4_eval *e, const g4_doc *d, size_t id, int m,
                       char hashes[3][G4_SHA256_HEX])
{
    g4_buffer b = { 0 };
    json_t *resps, *filtered;
    g4_py_json(&b, d->doc, 1);
    if (b.failed || !b.data) {
        free(b.data);
        return NULL;
    }
    g4_py_hash(b.data, hashes[0]);
    g4_py_hash(d->contexts ? d->contexts[0] : d->context, hashes[1]);
    g4_py_hash(d->target, hashes[2]);
    free(b.data);
    responses(d, m, &resps, &filtered);
    json_t *s = json_pack("{s:I, s:O, s:s, s:o, s:o, s:o, s:s, s:[], s:s, s:s, s:s}", "doc_id",
                          (json_int_t)id, "doc", d->doc, "target", d->target, "arguments",
                          arguments(d), "resps", resps, "filtered_resps", filtered, "filter",
                          e->task->metrics[m].filter, "metrics", "doc_hash", hashes[0],
                          "prompt_hash", hashes[1], "target_hash", hashes[2]);
    add_scores(s, e->task, d, m);
    return s;
}

/* ---- the results ---- */

/* {"name", "alias", "sample_len", "acc,none", "acc_stderr,none", ...} of a leaf, or
 * (leaf NULL) of a group or, group NULL, of all */
static json_t *row(const g4_eval *e, const char *name, const char *alias, const g4_leaf *leaf,
                   const char *group)
{
    char key[80];
    json_t *r = json_pack("{s:s, s:s, s:I}", "name", name, "alias", alias, "sample_len",
                          (json_int_t)(leaf ? leaf->count : g4_eval_pool(e, group, 0).docs));
    for (int m = 0; m < e->task->metric_count; m++) {
        const g4_metric *how = &e->task->metrics[m];
        g4_pooled p = { 0 };
        if (leaf) p = (g4_pooled){ .mean = leaf->mean[m], .stderr_ = leaf->stderr_[m] };
        else p = g4_eval_pool(e, group, m);
        snprintf(key, sizeof key, "%s,%s", how->name, how->filter);
        json_object_set_new(r, key, real_or(p.mean, "N/A"));
        snprintf(key, sizeof key, "%s_stderr,%s", how->name, how->filter);
        json_object_set_new(r, key, real_or(p.stderr_, "N/A"));
    }
    return r;
}

/* Is this the first leaf of its group? */
static int opens_group(const g4_eval *e, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (e->leaves[k].group && strcmp(e->leaves[k].group, e->leaves[i].group) == 0) return 0;
    return 1;
}

/* Groups' rows, and the members of each: the task over all, groups within it. */
static void groups(const g4_eval *e, json_t *rows, json_t *members)
{
    const char *name = e->task->name;
    json_t *top = json_array();
    json_object_set_new(rows, name, row(e, name, name, NULL, NULL));
    json_object_set_new(members, name, top);
    for (size_t i = 0; i < e->count; i++) {
        const g4_leaf *l = &e->leaves[i];
        if (!l->group) {
            json_array_append_new(top, json_string(l->name));
            continue;
        }
        if (opens_group(e, i)) {
            json_array_append_new(top, json_string(l->group));
            json_object_set_new(members, l->group, json_array());
            json_object_set_new(rows, l->group, row(e, l->group, l->group, NULL, l->group));
        }
        json_array_append_new(json_object_get(members, l->group), json_string(l->name));
    }
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_t *leaf_config(const g4_eval *e, const g4_leaf *l, const g4_eval_report *r)
{
    const g4_doc *d = l->docs;
    const char *type = l->count && d->rolling ? "loglikelihood_rolling"
                       : l->count && !d->choice_count ? "generate_until" : "multiple_choice";
    return json_pack("{s:s, s:s, s:I, s:s, s:{s:f}}", "task", l->name, "dataset_path",
                     text_of(r->header, "data"), "num_fewshot", (json_int_t)l->shots, "output_type",
                     type, "metadata", "version", e->task->version);
}

/* lm-eval's sanitize_model_name: re.sub(r"[\"<>:/\|\\?\*\[\]]+", "__", name) */
char *g4_eval_model_name(const g4_eval_report *r)
{
    const char *model = text_of(json_object_get(r->header, "config"), "model_args");
    char *out = calloc(2 * strlen(model) + 1, 1);
    size_t n = 0;
    for (const char *p = model; out && *p;) {
        size_t bad = strspn(p, "\"<>:/|\\?*[]");
        if (bad) memcpy(out + n, "__", 2);
        else out[n] = *p;
        n += bad ? 2 : 1;
        p += bad ? bad : 1;
    }
    return out;
}

/* The sum over all its documents' hashes: equal where prompts, documents and targets are. */
static json_t *leaf_hash(const g4_eval *e, const g4_leaf *l)
{
    char hashes[3][G4_SHA256_HEX], sum[G4_SHA256_HEX];
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    for (int m = 0; m < e->task->metric_count; m++)
        for (size_t i = 0; g4_opens_filter(e->task, m) && i < l->count; i++) {
            json_t *s = g4_eval_sample(e, &l->docs[i], i, m, hashes);
            if (!s) return NULL;
            json_decref(s);
            for (int k = 0; k < 3; k++) g4_sha256_add(&sha, hashes[k], G4_SHA256_HEX - 1);
        }
    g4_sha256_end(&sha, sum);
    return json_string(sum);
}

static json_t *better(const g4_task *t)
{
    json_t *all = json_object();
    for (int m = 0; m < t->metric_count; m++)
        json_object_set_new(all, t->metrics[m].name, json_boolean(t->metrics[m].of == G4_SHARE));
    return all;
}

/* Per leaf: {"mmlu_anatomy": ...} under each of these keys. */
typedef struct per_leaf {
    json_t *results, *configs, *versions, *shots, *better, *samples, *hashes, *members, *groups;
} per_leaf;

static void fill(per_leaf *p, const g4_eval *e, const g4_eval_report *r)
{
    if (e->count > 1) groups(e, p->groups, p->members);
    json_object_update(p->results, p->groups);
    for (size_t i = 0; i < e->count; i++) {
        const g4_leaf *l = &e->leaves[i];
        const char *n = l->name;
        if (e->count == 1) json_object_set_new(p->members, n, json_array());
        json_object_set_new(p->results, n, row(e, n, l->alias, l, NULL));
        json_object_set_new(p->configs, n, leaf_config(e, l, r));
        json_object_set_new(p->versions, n, json_real(e->task->version));
        json_object_set_new(p->shots, n, json_integer((json_int_t)l->shots));
        json_object_set_new(p->better, n, better(e->task));
        json_object_set_new(p->samples, n, json_pack("{s:I, s:I}", "original",
                                                     (json_int_t)l->all, "effective",
                                                     (json_int_t)l->count));
        json_object_set_new(p->hashes, n, leaf_hash(e, l));
    }
}

json_t *g4_eval_results(const g4_eval *e, const g4_eval_report *r)
{
    char seconds[40], sum[G4_SHA256_HEX];
    per_leaf p = { json_object(), json_object(), json_object(), json_object(), json_object(),
                   json_object(), json_object(), json_object(), json_object() };
    fill(&p, e, r);
    json_t *groups_row = json_object_size(p.groups) ? json_incref(p.groups) : NULL;
    json_decref(p.groups);
    snprintf(seconds, sizeof seconds, "%.6f", r->seconds);
    json_t *config = json_object_get(r->header, "config");
    char *name = g4_eval_model_name(r);
    const char *system = e->frame.system;
    if (system) g4_py_hash(system, sum);
    json_t *all = json_pack("{s:o, s:o*, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:n, s:s, s:o, s:s, "
                            "s:s, s:s, s:s?, s:s?, s:b, s:n, s:n, s:s}",
                     "results", p.results, "groups", groups_row, "group_subtasks", p.members,
                     "configs", p.configs, "versions", p.versions, "n-shot", p.shots,
                     "higher_is_better", p.better, "n-samples", p.samples, "config",
                     json_incref(config), "git_hash", "date", text_of(r->header, "started"),
                     "task_hashes", p.hashes, "model_source", "gemma4", "model_name",
                     text_of(config, "model_args"), "model_name_sanitized", name,
                     "system_instruction", system, "system_instruction_sha",
                     system ? sum : NULL, "fewshot_as_multiturn",
                     e->frame.turns && e->frame.multiturn, "chat_template", "chat_template_sha",
                     "total_evaluation_time_seconds", seconds);
    free(name);
    return all;
}
