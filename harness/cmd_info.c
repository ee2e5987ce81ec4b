/* SPDX-License-Identifier: Apache-2.0
 * gemma4 info: what a checkpoint folder holds, and what running it takes.  The
 * checkpoint is opened as a run would open it, so a damaged one is an error here
 * too.  A MODEL/assistant (or --draft) is described along with it. */
#include "harness/info.h"
#include "harness/memory.h"
#include "harness/options.h"
#include "harness/pass.h"
#include "harness/text.h"
#include "kernels_opt/kernels.h"
#include "ref/base/json.h"
#include "ref/base/map.h"
#include "ref/base/par.h"
#include "ref/dtype/dtype.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CTX = 4096 };

typedef struct job {
    const g4_options *o;
    g4_arena arena;
    g4_model *model, *drafter;
    g4_info info, drafter_info;
    int plan;                      /* is a memory plan asked for? */
    g4_memory memory;
} job;

/* ---- gathering ---- */

static g4_status open_drafter(job *j, g4_err *err)
{
    const char *dir = j->o->draft;
    if (!dir) {
        char *path = g4_arena_printf(&j->arena, "%s/assistant", j->o->model);
        if (!path) return g4_nomem(err, j->o->model);
        if (j->model->config.is_drafter || g4_path_kind(path) < 2) return G4_OK;
        dir = path;
    }
    G4_TRY(g4_model_open(&j->drafter, dir, err));
    G4_TRY(g4_model_check_pair(j->model, j->drafter, err));
    return g4_info_gather(&j->drafter_info, j->drafter, &j->arena, err);
}

/* A request means something only to a plan for a command. */
static g4_status check_request(const g4_options *o, g4_err *err)
{
    if (o->purpose) return G4_OK;
    if (o->arg_count) return g4_fail(err, G4_EINPUT, "%s: one argument too many", o->args[0]);
    const char *given = o->prompt ? "--prompt" : o->chat ? "--chat" : o->ids ? "--ids" :
                        o->inputs ? "--inputs" : o->media_count ? o->media[0].path : NULL;
    if (!given) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: goes with --for dump, verify or generate", given);
}

/* Any text of --ctx tokens, generated. */
static void plan_text(job *j, int64_t ctx, const g4_ops *ops)
{
    int64_t chunk = j->o->chunk ? j->o->chunk : G4_STREAM_CHUNK;
    g4_engine_plan *p = &j->memory.plan;
    p->rows = chunk < ctx ? chunk : ctx;
    p->logit_rows = 1;
    p->ctx = ctx;
    j->memory.base = g4_memory_now();
    g4_memory_plan(&j->memory, j->model, j->drafter, ops);
}

static g4_status make_plan(job *j, g4_err *err)
{
    const g4_options *o = j->o;
    const g4_config *c = &j->model->config;
    g4_ops ops = g4_ops_ref();
    g4_par *par;
    g4_engine_plan plan;
    G4_TRY(g4_runtime_plan(&plan, o, err));
    int64_t most = c->max_position_embeddings, ctx = o->ctx ? o->ctx : DEFAULT_CTX;
    if (o->ctx > most)
        return g4_fail(err, G4_EINPUT, "--ctx %lld: %s has %lld positions", (long long)o->ctx,
                       o->model, (long long)most);
    if (ctx > most) ctx = most;
    for (int kind = 0; kind < 2; kind++) {
        int64_t width = c->kv_heads[kind] * c->head_dim[kind], block = g4_dtype_get(plan.kv)->block;
        if (width % block != 0)
            return g4_fail(err, G4_EINPUT, "--kv %s: cache rows of %s have %lld values, not a "
                           "multiple of %lld", o->kv, o->model, (long long)width, (long long)block);
    }
    G4_TRY(g4_ops_select(&ops, g4_cpu_isas(), err));
    G4_TRY(g4_par_open(&par, (int)o->threads, err));   /* as a run does; counted, too */
    j->memory = (g4_memory){ .plan = plan, .threads = g4_par_threads(par) };
    g4_status s = G4_OK;
    if (o->purpose) s = g4_memory_request(&j->memory, o, j->model, j->drafter, &ops, err);
    else plan_text(j, ctx, &ops);
    g4_par_close(par);
    return s;
}

/* ---- JSON ---- */

static int put_int(json_t *to, const char *key, uint64_t v)
{
    return json_object_set_new(to, key, json_integer((json_int_t)v));
}

static json_t *formats_json(const g4_info *info)
{
    json_t *all = json_object();
    for (int i = 0; i < info->formats; i++) {
        const g4_info_format *f = &info->format[i];
        json_t *one = json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)f->tensors, "values",
                                (json_int_t)f->values, "bytes", (json_int_t)f->bytes);
        if (json_object_set_new(all, f->name, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *info_json(const g4_info *info)
{
    const g4_config *c = &info->model->config;
    int64_t full = 0;
    for (int64_t l = 0; l < c->num_hidden_layers; l++) full += c->layer_kind[l] == G4_FULL;
    const struct {
        const char *key;
        int64_t value;
    } ints[] = {
        { "hidden_size", c->hidden_size },
        { "intermediate_size", c->intermediate_size },
        { "num_hidden_layers", c->num_hidden_layers },
        { "sliding_layers", c->num_hidden_layers - full },
        { "full_layers", full },
        { "num_attention_heads", c->num_attention_heads },
        { "num_key_value_heads", c->kv_heads[G4_SLIDING] },
        { "num_global_key_value_heads", c->kv_heads[G4_FULL] },
        { "head_dim", c->head_dim[G4_SLIDING] },
        { "global_head_dim", c->head_dim[G4_FULL] },
        { "sliding_window", c->sliding_window },
        { "max_position_embeddings", c->max_position_embeddings },
        { "vocab_size", c->vocab_size },
        { "parameters", (int64_t)info->parameters },
        { "tensors", (int64_t)info->tensors },
        { "bytes", (int64_t)info->bytes },
    };
    json_t *root = json_object();
    int bad = json_object_set_new(root, "architecture", json_string(info->architecture));
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        bad |= put_int(root, ints[i].key, (uint64_t)ints[i].value);
    bad |= json_object_set_new(root, "formats", formats_json(info));
    if (!bad) return root;
    json_decref(root);
    return NULL;
}

static json_t *memory_json(const g4_memory *p)
{
    json_t *root = json_object();
    int bad = json_object_set_new(root, "kv", json_string(g4_dtype_get(p->plan.kv)->name));
    bad |= put_int(root, "ctx", (uint64_t)p->plan.ctx);
    bad |= put_int(root, "chunk", (uint64_t)p->plan.rows);
    bad |= put_int(root, "threads", (uint64_t)p->threads);
    bad |= put_int(root, "weights_mapped", p->weights);
    bad |= put_int(root, "weights_panels", p->panels);
    bad |= put_int(root, "base", p->base);
    bad |= put_int(root, "cache_sliding", p->cache_sliding);
    bad |= put_int(root, "cache_full", p->cache_full);
    bad |= put_int(root, "cache", p->cache);
    bad |= put_int(root, "work", p->work);
    bad |= put_int(root, "media", p->media);
    bad |= put_int(root, "results", p->results);
    bad |= put_int(root, "sampling", p->sampling);
    bad |= put_int(root, "passing", p->passing);
    bad |= put_int(root, "drafter_mapped", p->drafter_weights);
    bad |= put_int(root, "drafter_work", p->drafter_work);
    bad |= put_int(root, "anonymous", p->anonymous);
    bad |= put_int(root, "total", p->total);
    if (!bad) return root;
    json_decref(root);
    return NULL;
}

static g4_status print_json(const job *j, g4_err *err)
{
    json_t *root = info_json(&j->info);
    int bad = !root;
    if (j->drafter) bad |= json_object_set_new(root, "drafter", info_json(&j->drafter_info));
    if (j->plan) bad |= json_object_set_new(root, "memory", memory_json(&j->memory));
    char *text = bad ? NULL : json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    if (!text) return g4_nomem(err, "JSON");
    puts(text);
    free(text);
    return G4_OK;
}

/* ---- text ---- */

static void print_shape(const g4_config *c, g4_arena *arena)
{
    const char *pattern = g4_info_pattern(c, arena);
    printf("  layers       %lld: %s\n", (long long)c->num_hidden_layers, pattern ? pattern : "?");
    printf("  hidden       %lld, feed-forward %lld, vocabulary %lld, positions %lld\n",
           (long long)c->hidden_size, (long long)c->intermediate_size, (long long)c->vocab_size,
           (long long)c->max_position_embeddings);
    printf("  sliding      %lld query heads, %lld key/value heads of %lld, window %lld\n",
           (long long)c->num_attention_heads, (long long)c->kv_heads[G4_SLIDING],
           (long long)c->head_dim[G4_SLIDING], (long long)c->sliding_window);
    printf("  full         %lld query heads, %lld key/value heads of %lld%s\n",
           (long long)c->num_attention_heads, (long long)c->kv_heads[G4_FULL],
           (long long)c->head_dim[G4_FULL], c->attention_k_eq_v ? ", values from keys" : "");
    if (c->patch_size)
        printf("  images       patches of %lld x %lld pixels -> %lld, positions to %lld\n",
               (long long)(c->patch_size * c->pooling_kernel_size),
               (long long)(c->patch_size * c->pooling_kernel_size), (long long)c->mm_embed_dim,
               (long long)c->mm_posemb_size);
    if (c->audio_embed_dim)
        printf("  audio        frames of %lld samples\n", (long long)c->audio_embed_dim);
    if (c->is_drafter)
        printf("  drafts for   hidden %lld%s\n", (long long)c->backbone_hidden_size,
               c->use_ordered_embeddings ? ", centroid head" : "");
}

static void print_tensors(const g4_info *info)
{
    char bytes[32], name[256], shape[160];
    printf("  %-8s %8s %14s %12s\n", "format", "tensors", "values", "bytes");
    for (int i = 0; i < info->formats; i++)
        printf("  %-8s %8llu %14llu %12s\n", info->format[i].name,
               (unsigned long long)info->format[i].tensors,
               (unsigned long long)info->format[i].values,
               g4_text_bytes(bytes, sizeof bytes, info->format[i].bytes));
    printf("\n  %-64s %-5s %-16s %4s %10s\n", "tensor", "type", "shape", "x", "bytes");
    for (size_t i = 0; i < info->groups; i++) {
        const g4_info_group *g = &info->group[i];
        size_t at = 0;
        shape[0] = 0;
        for (int d = 0; d < g->first->rank && at + 24 < sizeof shape; d++)
            at += (size_t)snprintf(shape + at, sizeof shape - at, d ? " x %lld" : "%lld",
                                   (long long)g->first->shape[d]);
        printf("  %-64s %-5s %-16s %4llu %10s\n", g4_text_safe(name, sizeof name, g->name),
               g->first->type_name, shape, (unsigned long long)g->tensors,
               g4_text_bytes(bytes, sizeof bytes, g->bytes));
    }
}

static void print_info(const g4_info *info, const char *title, g4_arena *arena)
{
    char dir[512], arch[256], bytes[32];
    printf("%s%s\n  %s, %.3f million parameters, %zu tensors, %s\n", title,
           g4_text_safe(dir, sizeof dir, info->model->dir),
           g4_text_safe(arch, sizeof arch, info->architecture), (double)info->parameters * 1e-6,
           info->tensors, g4_text_bytes(bytes, sizeof bytes, info->bytes));
    print_shape(&info->model->config, arena);
    putchar('\n');
    print_tensors(info);
}

static void print_row(const char *what, uint64_t bytes)
{
    char text[32];
    printf("  %-56s %12s\n", what, g4_text_bytes(text, sizeof text, bytes));
}

static void print_memory(const g4_memory *p)
{
    char what[96];
    printf("\nmemory for %d x %lld tokens of context, prefill of %lld rows at once, %d threads\n",
           p->cases, (long long)p->plan.ctx, (long long)p->plan.rows, p->threads);
    print_row("weights, mapped (pages of the file)", p->weights);
    if (p->drafter_weights) print_row("drafter: weights, mapped", p->drafter_weights);
    if (p->panels) print_row("weights, as the kernels read them", p->panels);
    print_row("program, norms as float32, request (measured here)", p->base);
    for (int kind = 0; kind < 2 && p->cache; kind++) {
        snprintf(what, sizeof what, "cache, %s: %lld layers x %lld tokens, %s",
                 kind == G4_FULL ? "full" : "sliding", (long long)p->layers[kind],
                 (long long)p->slots[kind], g4_dtype_get(p->plan.kv)->name);
        print_row(what, kind == G4_FULL ? p->cache_full : p->cache_sliding);
    }
    print_row("work buffers", p->work);
    if (p->media) print_row("soft tokens of media", p->media);
    print_row("last logits and hidden rows", p->results);
    if (p->sampling) print_row("sampling: logits, distributions", p->sampling);
    if (p->passing) print_row("in passing: golden data, packing, embedders", p->passing);
    if (p->drafter_work) print_row("drafter: work buffers", p->drafter_work);
    print_row("anonymous: all but the mapped weights", p->anonymous);
    print_row("total", p->total);
}

/* ---- the command ---- */

static g4_status run(job *j, g4_err *err)
{
    const g4_options *o = j->o;
    G4_TRY(check_request(o, err));
    G4_TRY(g4_model_open(&j->model, o->model, err));
    G4_TRY(g4_info_gather(&j->info, j->model, &j->arena, err));
    G4_TRY(open_drafter(j, err));
    if (j->plan) G4_TRY(make_plan(j, err));
    if (o->json) return print_json(j, err);
    print_info(&j->info, "", &j->arena);
    if (j->drafter) print_info(&j->drafter_info, "\ndrafter ", &j->arena);
    if (j->plan) print_memory(&j->memory);
    return G4_OK;
}

int cmd_info(const g4_options *o, g4_err *err)
{
    job j = { .o = o, .plan = o->memory || o->ctx || o->kv || o->chunk || o->purpose };
    g4_status s = run(&j, err);
    g4_model_close(j.model);
    g4_model_close(j.drafter);
    g4_arena_free(&j.arena);
    return s == G4_OK ? 0 : 2;
}
