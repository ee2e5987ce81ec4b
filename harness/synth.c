/* SPDX-License-Identifier: Apache-2.0
 * Steps: 1. read and check the shape; 2. list tensors, ask whether the disk has
 * room; 3. write everything into OUT.tmp.XXXXXX; 4. rename it to OUT. */
#include "harness/synth.h"

#include "harness/interrupt.h"
#include "harness/text.h"
#include "ref/base/map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONFIG_BYTES = 1 << 20, BLOCK = 1 << 20, GRAIN = 1 << 15, HEADER_ALIGN = 8 };
static const uint64_t default_shard = 5000000000u;

static const g4_synth_type types[] = {
    { "bf16", "BF16", "bfloat16", 2 },
    { "f16", "F16", "float16", 2 },
    { "f32", "F32", "float32", 4 },
};

/* One checkpoint folder to be: the backbone, or the drafter. */
typedef struct part {
    const char *source;       /* where its config.json came from, for messages */
    g4_json json;
    g4_config config;
    g4_shape shape;
} part;

typedef struct job {
    const g4_synth *s;
    const g4_synth_type *type;
    g4_arena arena;
    part part[2];
    int parts;
    char *out, *temp;         /* out without trailing slashes */
    g4_par *par;
    void *block;              /* BLOCK values */
    uint64_t total, done;     /* bytes of tensors */
    struct timespec start;
    double reported;          /* seconds after start */
    g4_gguf_result gguf;      /* of a GGUF; else zeros */
} job;

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + 1e-9 * (double)(now.tv_nsec - start->tv_nsec);
}

/* A line every ten seconds; nothing for what is done sooner. */
static void report(job *j)
{
    char done[32], total[32], rate[32];
    double t = seconds_since(&j->start);
    if (!j->s->progress || t - j->reported < 10) return;
    j->reported = t;
    fprintf(j->s->progress, "synth: %s of %s, %s/s\n", g4_text_bytes(done, sizeof done, j->done),
            g4_text_bytes(total, sizeof total, j->total),
            g4_text_bytes(rate, sizeof rate, (uint64_t)((double)j->done / t)));
}

/* ---- 1. the shape ---- */

static g4_status load_part(job *j, const char *source, const char *text, g4_err *err)
{
    part *p = &j->part[j->parts];
    p->source = source;
    if (text) G4_TRY(g4_json_parse(&p->json, source, text, strlen(text), err));
    else G4_TRY(g4_json_load(&p->json, source, MAX_CONFIG_BYTES, err));
    j->parts++;
    G4_TRY(g4_config_parse(&p->config, &p->json, &j->arena, err));
    if (json_object_set_new(p->json.root, "dtype", json_string(j->type->torch)) != 0)
        return g4_nomem(err, source);
    (void)json_object_del(p->json.root, "torch_dtype");   /* dtype's old name */
    return g4_shape_list(&p->shape, &p->config, j->type->bytes, &j->arena, source, err);
}

/* DIR/config.json -> DIR/assistant/config.json, if there is one. */
static g4_status load_beside(job *j, g4_err *err)
{
    const char *slash = strrchr(j->s->shape, '/');
    int len = slash ? (int)(slash - j->s->shape) + 1 : 0;
    char *path = g4_arena_printf(&j->arena, "%.*sassistant/config.json", len, j->s->shape);
    if (!path) return g4_nomem(err, j->s->shape);
    return g4_path_kind(path) != 0 ? load_part(j, path, NULL, err) : G4_OK;
}

static g4_status load_shape(job *j, g4_err *err)
{
    const char *backbone, *drafter;
    if (g4_shape_named(j->s->shape, &backbone, &drafter)) {
        G4_TRY(load_part(j, j->s->shape, backbone, err));
        return load_part(j, j->s->shape, drafter, err);
    }
    if (g4_path_kind(j->s->shape) == 0)
        return g4_fail(err, G4_EINPUT, "%s: neither a known shape (12b) nor a config.json",
                       j->s->shape);
    G4_TRY(load_part(j, j->s->shape, NULL, err));
    return j->part[0].config.is_drafter ? G4_OK : load_beside(j, err);
}

static int to_gguf(const g4_synth *s)
{
    size_t len = strlen(s->out);
    return len > 5 && strcmp(s->out + len - 5, ".gguf") == 0;
}

static g4_status find_type(job *j, g4_err *err)
{
    if (to_gguf(j->s)) {
        j->type = &types[2];   /* what is packed; g4_gguf_make knows the names */
        return G4_OK;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, j->s->type) == 0) {
            j->type = &types[i];
            return G4_OK;
        }
    return g4_fail(err, G4_EINPUT, "--type %.40s: not available; available: bf16, f16, f32",
                   j->s->type);
}

/* ---- 2. room and names ---- */

static int folder_empty(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;
    int empty = d != NULL;
    while (d && (e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) empty = 0;
    if (d) closedir(d);
    return empty;
}

static g4_status plan_out(job *j, g4_err *err)
{
    size_t len = strlen(j->s->out);
    while (len > 1 && j->s->out[len - 1] == '/') len--;
    j->out = g4_arena_strndup(&j->arena, j->s->out, len);
    j->temp = j->out ? g4_arena_printf(&j->arena, "%s.tmp.XXXXXX", j->out) : NULL;
    if (!j->temp) return g4_nomem(err, j->s->out);
    struct stat st;
    if (lstat(j->out, &st) == 0 && !(S_ISDIR(st.st_mode) && folder_empty(j->out)))
        return g4_fail(err, G4_EINPUT, "%s: exists and is not an empty folder", j->out);
    const char *slash = strrchr(j->out, '/');
    char *parent = slash ? g4_arena_strndup(&j->arena, j->out, (size_t)(slash - j->out) + 1) : ".";
    if (!parent) return g4_nomem(err, j->out);
    struct statvfs fs;
    if (statvfs(parent, &fs) != 0)
        return g4_fail(err, G4_EIO, "%s: cannot create: %s", j->out, strerror(errno));
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    char need[32], have[32];
    if (room < j->total)
        return g4_fail(err, G4_EIO, "%s: needs %s, the disk has %s", j->out,
                       g4_text_bytes(need, sizeof need, j->total),
                       g4_text_bytes(have, sizeof have, room));
    return G4_OK;
}

/* ---- 3. weights ---- */

typedef struct fill_ctx {
    const job *j;
    const g4_shape_tensor *t;
    int64_t base;             /* index of the block's first value */
} fill_ctx;

static size_t value_bytes(const job *j, const g4_shape_tensor *t)
{
    return t->role == G4_ROLE_ORDER ? 8 : j->type->bytes;
}

static void fill_piece(void *ctx, int64_t begin, int64_t end, int worker)
{
    const fill_ctx *x = ctx;
    (void)worker;
    g4_synth_fill((char *)x->j->block + (size_t)begin * value_bytes(x->j, x->t), x->t, x->j->type,
                  x->j->s->seed, x->base + begin, x->base + end);
}

static g4_status write_tensor(job *j, g4_out *out, const g4_shape_tensor *t, g4_err *err)
{
    fill_ctx x = { j, t, 0 };
    size_t each = value_bytes(j, t);
    for (; (uint64_t)x.base < t->values; x.base += BLOCK) {
        uint64_t left = t->values - (uint64_t)x.base;
        int64_t n = left < BLOCK ? (int64_t)left : BLOCK;
        if (g4_interrupt_pending()) return g4_fail(err, G4_EIO, "%s: interrupted", j->out);
        g4_par_for(j->par, n, GRAIN, fill_piece, &x);
        G4_TRY(g4_out_write(out, j->block, (size_t)n * each, err));
        j->done += (uint64_t)n * each;
        report(j);
    }
    return G4_OK;
}

/* {"__metadata__":...,"name":{"dtype":..,"shape":[..],"data_offsets":[..]},...},
 * padded with blanks, its length in front (safetensors README). */
static g4_status write_header(job *j, g4_out *out, const g4_shape_tensor *t, size_t n, g4_err *err)
{
    char *text = NULL;
    size_t size = 0;
    uint64_t at = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return g4_nomem(err, j->out);
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", f);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t[i].name,
                t[i].role == G4_ROLE_ORDER ? "I64" : j->type->safetensors);
        for (int d = 0; d < t[i].rank; d++)
            fprintf(f, d ? ",%lld" : "%lld", (long long)t[i].shape[d]);
        fprintf(f, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                (unsigned long long)(at + t[i].bytes));
        at += t[i].bytes;
    }
    fputc('}', f);
    while (ftell(f) % HEADER_ALIGN != 0 && !ferror(f)) fputc(' ', f);
    int bad = ferror(f);
    if (fclose(f) != 0 || bad) {
        free(text);
        return g4_nomem(err, j->out);
    }
    unsigned char len[8];
    for (int i = 0; i < 8; i++) len[i] = (unsigned char)((uint64_t)size >> (8 * i));
    g4_status s = g4_out_write(out, len, 8, err);
    if (s == G4_OK) s = g4_out_write(out, text, size, err);
    free(text);
    return s;
}

static g4_status write_shard(job *j, const char *dir, const char *name, const g4_shape_tensor *t,
                             size_t n, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    char *path = g4_arena_printf(&j->arena, "%s/%s", dir, name);
    if (!path) return g4_nomem(err, name);
    g4_status s = g4_out_open(&out, path, err);
    if (s == G4_OK) s = write_header(j, &out, t, n, err);
    for (size_t i = 0; s == G4_OK && i < n; i++) s = write_tensor(j, &out, &t[i], err);
    if (s == G4_OK) s = g4_out_commit(&out, err);
    g4_out_abort(&out);
    return s;
}

/* How many tensors, from `from` on, go into one file: at least one. */
static size_t shard_take(const job *j, const g4_shape *shape, size_t from)
{
    uint64_t limit = j->s->shard_bytes ? j->s->shard_bytes : default_shard, bytes = 0;
    size_t n = 0;
    while (from + n < shape->count && (n == 0 || bytes + shape->list[from + n].bytes <= limit))
        bytes += shape->list[from + n++].bytes;
    return n;
}

static g4_status write_weights(job *j, const part *p, const char *dir, g4_err *err)
{
    const g4_shape *shape = &p->shape;
    size_t shards = 0, shard = 0, n;
    for (size_t i = 0; i < shape->count; i += shard_take(j, shape, i)) shards++;
    if (shards == 1)
        return write_shard(j, dir, "model.safetensors", shape->list, shape->count, err);
    json_t *map = json_object();
    g4_status s = map ? G4_OK : g4_nomem(err, dir);
    for (size_t i = 0; s == G4_OK && i < shape->count; i += n) {
        char name[64];
        n = shard_take(j, shape, i);
        snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", ++shard, shards);
        for (size_t k = i; k < i + n; k++)
            if (json_object_set_new(map, shape->list[k].name, json_string(name)) != 0)
                s = g4_nomem(err, dir);
        if (s == G4_OK) s = write_shard(j, dir, name, shape->list + i, n, err);
    }
    json_t *root = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)shape->bytes,
                             "weight_map", map);
    if (s == G4_OK) s = g4_synth_json(dir, "model.safetensors.index.json", root, err);
    json_decref(root);
    json_decref(map);
    return s;
}

static g4_status write_part(job *j, const part *p, const char *dir, g4_err *err)
{
    G4_TRY(g4_synth_json(dir, "config.json", p->json.root, err));
    G4_TRY(g4_synth_side_files(dir, &p->config, p->source, err));
    return write_weights(j, p, dir, err);
}

/* ---- 4. the folder ---- */

static g4_status make_folder(const char *path, g4_err *err)
{
    if (mkdir(path, 0777) == 0) return G4_OK;
    return g4_fail(err, G4_EIO, "%s: cannot create: %s", path, strerror(errno));
}

static g4_status write_folder(job *j, g4_err *err)
{
    G4_TRY(write_part(j, &j->part[0], j->temp, err));
    if (j->parts == 2) {
        char *dir = g4_arena_printf(&j->arena, "%s/assistant", j->temp);
        if (!dir) return g4_nomem(err, j->out);
        G4_TRY(make_folder(dir, err));
        G4_TRY(write_part(j, &j->part[1], dir, err));
    }
    if (g4_interrupt_pending()) return g4_fail(err, G4_EIO, "%s: interrupted", j->out);
    mode_t mask = umask(0);
    umask(mask);
    (void)chmod(j->temp, 0777 & ~mask);   /* mkdtemp makes 0700 */
    if (rename(j->temp, j->out) != 0)
        return g4_fail(err, G4_EIO, "%s: cannot rename into place: %s", j->out, strerror(errno));
    return G4_OK;
}

/* Removes the temporary folder: files, and files of folders in it. */
static void remove_tree(const char *path, int depth)
{
    DIR *d = opendir(path);
    struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        char sub[4352];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (snprintf(sub, sizeof sub, "%s/%s", path, e->d_name) >= (int)sizeof sub) continue;
        if (unlink(sub) != 0 && depth > 0) remove_tree(sub, depth - 1);
    }
    if (d) closedir(d);
    rmdir(path);
}

/* A message must not name the temporary folder: the user knows only OUT. */
static void rename_in_message(const job *j, g4_err *err)
{
    char *at = err ? strstr(err->msg, j->temp) : NULL;
    if (!at) return;
    size_t out = strlen(j->out), temp = strlen(j->temp);
    memmove(at + out, at + temp, strlen(at + temp) + 1);
    memcpy(at, j->out, out);
}

/* The backbone only, from a temporary folder that holds all but weights. */
static g4_status write_gguf(job *j, g4_err *err)
{
    g4_gguf_result r = { 0 };
    const part *p = &j->part[0];
    j->temp = g4_arena_printf(&j->arena, "%s.tmp.XXXXXX", j->s->out);
    j->out = j->temp ? g4_arena_strndup(&j->arena, j->s->out, strlen(j->s->out)) : NULL;
    if (!j->out) return g4_nomem(err, j->s->out);
    if (p->config.is_drafter)
        return g4_fail(err, G4_EINPUT, "%s: a drafter's shape; only models are written as GGUF",
                       p->source);
    if (!mkdtemp(j->temp))
        return g4_fail(err, G4_EIO, "%s: cannot create: %s", j->out, strerror(errno));
    g4_status s = g4_synth_json(j->temp, "config.json", p->json.root, err);
    if (s == G4_OK) s = g4_synth_side_files(j->temp, &p->config, p->source, err);
    if (s == G4_OK) s = g4_synth_gguf(j->s, j->temp, j->out, j->par, &r, err);
    if (s != G4_OK) rename_in_message(j, err);
    remove_tree(j->temp, 1);
    j->parts = 1;
    j->gguf = r;
    return s;
}

static g4_status run(job *j, g4_err *err)
{
    G4_TRY(find_type(j, err));
    G4_TRY(load_shape(j, err));
    if (to_gguf(j->s)) {
        G4_TRY(g4_par_open(&j->par, j->s->threads, err));
        return write_gguf(j, err);
    }
    for (int i = 0; i < j->parts; i++) j->total += j->part[i].shape.bytes;
    G4_TRY(plan_out(j, err));
    G4_TRY(g4_par_open(&j->par, j->s->threads, err));
    j->block = malloc((size_t)BLOCK * 8);   /* 8: int64 orderings */
    if (!j->block) return g4_nomem(err, "synth");
    clock_gettime(CLOCK_MONOTONIC, &j->start);
    if (!mkdtemp(j->temp))
        return g4_fail(err, G4_EIO, "%s: cannot create: %s", j->out, strerror(errno));
    g4_status s = write_folder(j, err);
    if (s != G4_OK) {
        rename_in_message(j, err);
        remove_tree(j->temp, 1);
    }
    return s;
}

static void add_counts(const g4_shape *shape, g4_synth_result *result)
{
    result->tensors += shape->count;
    for (size_t k = 0; k < shape->count; k++)
        if (shape->list[k].role != G4_ROLE_ORDER) result->parameters += shape->list[k].values;
}

g4_status g4_synth_write(const g4_synth *s, g4_synth_result *result, g4_err *err)
{
    job j = { .s = s };
    sigset_t before;
    g4_interrupt_hold(&before);
    g4_status status = run(&j, err);
    *result = (g4_synth_result){ .drafter = j.parts == 2, .bytes = j.total + j.gguf.bytes,
                                 .tensors = j.gguf.tensors, .parameters = j.gguf.parameters };
    for (int i = 0; i < 2; i++) {
        if (!to_gguf(s)) add_counts(&j.part[i].shape, result);
        g4_json_free(&j.part[i].json);
    }
    free(j.block);
    g4_par_close(j.par);
    g4_arena_free(&j.arena);
    g4_interrupt_release(&before);
    return status;
}
