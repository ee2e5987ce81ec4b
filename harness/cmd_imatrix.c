/* SPDX-License-Identifier: Apache-2.0
 * gemma4 imatrix: the importance matrix of a model on a text.  The text's tokens are cut into
 * chunks of --ctx, each begun by BOS in the place of its first token: llama-imatrix's way.
 * What is done is written every minute and on Ctrl-C; --resume goes on from there. */
#include "harness/importance.h"
#include "harness/interrupt.h"
#include "harness/text.h"
#include "ref/base/map.h"
#include "ref/base/sha256.h"
#include "ref/input/tokenizer.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { MAX_TEXT = 1 << 30, CHUNK = 512, SAVE_SECONDS = 60, TELL_SECONDS = 10, HEAD = 4096 };

typedef struct job {
    const g4_options *o;
    g4_runtime rt;
    g4_tokenizer *tokenizer;
    g4_ids ids;
    int32_t bos;              /* -1: chunks begin as they are */
    int64_t chunk, chunks;
    g4_collector *collector;
    g4_imatrix *im;           /* the collector's */
    char source[G4_SHA256_HEX];
    double saved, told;
} job;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static g4_status read_text(job *j, g4_err *err)
{
    char *data;
    size_t size;
    const char *bos = j->o->bos;
    G4_TRY(g4_tokenizer_load(&j->tokenizer, j->o->model, err));
    j->bos = !bos || strcmp(bos, "off") != 0 ? g4_tokenizer_bos(j->tokenizer) : -1;
    G4_TRY(g4_text_read(j->o->data, MAX_TEXT, &data, &size, err));
    g4_status s = j->bos >= 0 ? g4_ids_push(&j->ids, j->bos, err) : G4_OK;
    if (s == G4_OK)
        s = g4_tokenizer_encode_bos(j->tokenizer, data, size, G4_BOS_OFF, &j->ids, err);
    free(data);
    if (s != G4_OK) return s;
    j->chunk = j->o->ctx ? j->o->ctx : CHUNK;
    j->chunks = (int64_t)j->ids.count / j->chunk;
    if (j->o->limit && j->o->limit < j->chunks) j->chunks = j->o->limit;
    if (j->chunks) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: %zu tokens; a chunk has %lld", j->o->data, j->ids.count,
                   (long long)j->chunk);
}

/* What sums depend on: tokens, their chunks, the model's tensors (names, sizes, heads). */
static void identify(job *j)
{
    g4_sha256 sha;
    g4_sha256_begin(&sha);
    int64_t head[] = { j->chunk, j->bos };
    g4_sha256_add(&sha, head, sizeof head);
    g4_sha256_add(&sha, j->ids.ids, j->ids.count * sizeof *j->ids.ids);
    const g4_store *store = j->rt.model->store;
    for (size_t i = 0; i < g4_store_count(store); i++) {
        const g4_tensor *t = g4_store_at(store, i);
        uint64_t bytes = t->bytes;
        g4_sha256_add(&sha, t->name, strlen(t->name) + 1);
        g4_sha256_add(&sha, &bytes, sizeof bytes);
        g4_sha256_add(&sha, t->data, t->bytes < HEAD ? t->bytes : HEAD);
    }
    g4_sha256_end(&sha, j->source);
}

/* The sums of the file that an earlier run left. */
static g4_status resume(job *j, const g4_imatrix *old, g4_err *err)
{
    if (strcmp(old->source, j->source) != 0 || old->count != j->im->count ||
        old->chunks > (uint64_t)j->chunks)
        return g4_fail(err, G4_EINPUT, "%s: was made of another model, text or --ctx, or of "
                       "more chunks", j->o->out);
    for (size_t i = 0; i < old->count; i++) {
        const g4_importance *a = &old->list[i];
        g4_importance *b = &j->im->list[i];
        if (strcmp(a->name, b->name) != 0 || a->cols != b->cols)
            return g4_fail(err, G4_EINPUT, "%s: has %s, this model %s", j->o->out, a->name,
                           b->name);
        memcpy(b->sum, a->sum, (size_t)a->cols * sizeof *a->sum);
        b->count = a->count;
    }
    j->im->chunks = old->chunks;
    return G4_OK;
}

static g4_status begin(job *j, g4_err *err)
{
    G4_TRY(g4_collector_open(&j->collector, &j->rt, j->chunk, err));
    j->im = g4_collector_sums(j->collector);
    j->im->dataset = j->o->data;
    identify(j);
    j->im->source = j->source;
    if (!j->o->resume || g4_path_kind(j->o->out) == 0) return G4_OK;
    g4_imatrix *old;
    G4_TRY(g4_imatrix_open(&old, j->o->out, err));
    g4_status s = resume(j, old, err);
    g4_imatrix_close(old);
    return s;
}

/* A sum that is not finite means that the model does not run: better no file. */
static g4_status check_sums(const job *j, g4_err *err)
{
    for (size_t i = 0; i < j->im->count; i++) {
        const g4_importance *e = &j->im->list[i];
        for (int64_t k = 0; k < e->cols; k++)
            if (!isfinite(e->sum[k]))
                return g4_fail(err, G4_EINPUT, "%s: activations before %s, column %lld, are not "
                               "finite", j->o->model, e->name, (long long)k);
    }
    return G4_OK;
}

static void tell(job *j, double start, int64_t first)
{
    double t = now() - start, done = (double)(j->im->chunks - (uint32_t)first);
    if (t - j->told < TELL_SECONDS || done <= 0) return;
    j->told = t;
    fprintf(stderr, "imatrix: %u of %lld chunks after %.0f s, %.0f s to go\n", j->im->chunks,
            (long long)j->chunks, t, t / done * (double)(j->chunks - j->im->chunks));
}

static g4_status collect(job *j, g4_err *err)
{
    double start = now();
    int64_t first = j->im->chunks;
    j->saved = start;
    for (int64_t i = first; i < j->chunks; i++) {
        int32_t *ids = j->ids.ids + i * j->chunk;
        if (j->bos >= 0) ids[0] = j->bos;
        G4_TRY(g4_collector_add(j->collector, ids, err));
        G4_TRY(check_sums(j, err));
        int stop = g4_interrupt_pending() && i + 1 < j->chunks;
        if (stop || now() - j->saved > SAVE_SECONDS) {
            G4_TRY(g4_imatrix_write(j->im, j->o->out, err));
            j->saved = now();
        }
        if (stop)
            return g4_fail(err, G4_EIO, "%s: interrupted after %u of %lld chunks; --resume goes on",
                           j->o->out, j->im->chunks, (long long)j->chunks);
        tell(j, start, first);
    }
    return g4_imatrix_write(j->im, j->o->out, err);
}

static g4_status run(job *j, g4_err *err)
{
    size_t len = strlen(j->o->out);
    if (j->o->resume && len > 4 && strcmp(j->o->out + len - 4, ".dat") == 0)
        return g4_fail(err, G4_EINPUT, "--resume: the sums of a .dat are rounded; use GGUF");
    G4_TRY(g4_runtime_open(&j->rt, j->o, G4_DRAFT_NONE, err));
    G4_TRY(read_text(j, err));
    G4_TRY(begin(j, err));
    return collect(j, err);
}

int cmd_imatrix(const g4_options *o, g4_err *err)
{
    job j = { .o = o };
    char path[512];
    sigset_t before;
    double start = now();
    g4_interrupt_hold(&before);
    g4_status s = run(&j, err);
    if (s == G4_OK)
        printf("%s: %zu matrices, %u chunks of %lld tokens in %.1f s\n",
               g4_text_safe(path, sizeof path, o->out), j.im->count, j.im->chunks,
               (long long)j.chunk, now() - start);
    g4_collector_close(j.collector);
    g4_ids_free(&j.ids);
    g4_tokenizer_free(j.tokenizer);
    g4_runtime_close(&j.rt);
    g4_interrupt_release(&before);
    return s == G4_OK ? 0 : 2;
}
