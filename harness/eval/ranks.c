/* SPDX-License-Identifier: Apache-2.0
 * Messages, all of bytes: another rank says READY with its settings, then ASKs and gets WORK
 * (none: it is done) as often as it has sent the ANSWERs to all of the last.  Errors of MPI
 * itself end the job (MPI_ERRORS_ARE_FATAL, the default). */
#include "harness/eval/ranks.h"

#include "harness/eval/journal.h"

#ifdef G4_WITH_MPI

#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { READY = 1, ASK, WORK, ANSWER, FAILED };

typedef struct message {
    int from, tag, n;
    char *data;                  /* [n], malloc'ed; a NUL behind */
} message;

g4_status g4_ranks_begin(g4_ranks *r, g4_err *err)
{
    int provided;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    *r = (g4_ranks){ .begun = 1 };
    MPI_Comm_rank(MPI_COMM_WORLD, &r->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &r->size);
    if (provided >= MPI_THREAD_FUNNELED) return G4_OK;
    return g4_fail(err, G4_EINPUT, "this MPI forbids threads beside the one that calls it");
}

/* A rank that ends without MPI_Finalize takes the job with it: mpirun ends the others. */
void g4_ranks_end(const g4_ranks *r, g4_status s, const g4_err *err)
{
    enum { PATIENCE = 30 };      /* seconds until mpirun has ended this process surely */
    if (!r->begun) return;
    if (s == G4_OK || r->size == 1) {
        MPI_Finalize();
        return;
    }
    if (r->rank == 0) return;
    MPI_Send(err->msg, (int)strlen(err->msg), MPI_BYTE, 0, FAILED, MPI_COMM_WORLD);
    sleep(PATIENCE);
}

/* MPI's own waiting keeps a core busy, which on rank 0's machine is an answering rank's. */
static g4_status receive(message *m, int from, g4_err *err)
{
    const struct timespec pause = { 0, 1000000 };
    MPI_Status st;
    int there = 0;
    for (;;) {
        MPI_Iprobe(from, MPI_ANY_TAG, MPI_COMM_WORLD, &there, &st);
        if (there) break;
        nanosleep(&pause, NULL);
    }
    *m = (message){ .from = st.MPI_SOURCE, .tag = st.MPI_TAG };
    MPI_Get_count(&st, MPI_BYTE, &m->n);
    if (!(m->data = malloc((size_t)m->n + 1))) return g4_nomem(err, "a message");
    MPI_Recv(m->data, m->n, MPI_BYTE, m->from, m->tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    m->data[m->n] = 0;
    if (m->tag != FAILED) return G4_OK;
    g4_fail(err, G4_EINPUT, "rank %d: %s", m->from, m->data);
    free(m->data);
    return G4_EINPUT;
}

/* ---- rank 0 ---- */

static g4_status same_header(const json_t *own, const message *m, g4_err *err)
{
    const char *key;
    json_t *v, *other = json_loadb(m->data, (size_t)m->n, 0, NULL);
    g4_status s = G4_OK;
    json_object_foreach((json_t *)own, key, v)
        if (s == G4_OK && strcmp(key, "started") != 0 &&
            !json_equal(v, json_object_get(other, key)))
            s = g4_fail(err, G4_EINPUT, "rank %d: has another %s than rank 0", m->from, key);
    json_decref(other);
    return s;
}

g4_status g4_ranks_gather(const g4_ranks *r, const json_t *header, g4_err *err)
{
    for (int i = 1; i < r->size; i++) {
        message m;
        G4_TRY(receive(&m, i, err));
        g4_status s = same_header(header, &m, err);
        free(m.data);
        G4_TRY(s);
    }
    return G4_OK;
}

/* What has been handed out: all before this question. */
typedef struct hand {
    const g4_eval *e;
    size_t leaf, doc, open;      /* open: how many have not been */
    size_t ranks;                /* that answer */
    int64_t *work;               /* the leaf, then its questions */
} hand;

static int is_open(const g4_doc *d)
{
    return !d->done && !d->other;
}

/* How many at once: fewer the fewer are left, so that all ranks end together; no fewer than
 * share a pass (batch.c) unless other ranks would go without. */
static size_t share(const hand *h)
{
    enum { LANES = 8, MOST = 1 << 20 };
    size_t each = (h->open + h->ranks - 1) / h->ranks, n = h->open / (2 * h->ranks);
    if (n < LANES) n = each < LANES ? each : LANES;
    return n < MOST ? n : MOST;
}

static size_t next_block(hand *h)
{
    size_t n = 0, want = share(h);
    for (; h->leaf < h->e->count; h->leaf++, h->doc = 0) {
        const g4_leaf *l = &h->e->leaves[h->leaf];
        for (; n < want && h->doc < l->count; h->doc++)
            if (is_open(&l->docs[h->doc])) h->work[++n] = (int64_t)h->doc;
        if (n) break;
    }
    h->work[0] = (int64_t)h->leaf;
    h->open -= n;
    return n;
}

static g4_status take(g4_eval *e, const g4_eval_run *run, const message *m, g4_err *err)
{
    g4_leaf *leaf;
    size_t doc;
    json_t *line = json_loadb(m->data, (size_t)m->n, 0, NULL);
    int ok = line && g4_eval_answer_take(e, line, &leaf, &doc);
    json_decref(line);
    if (!ok) return g4_fail(err, G4_EINPUT, "rank %d: sent no answer to an open question", m->from);
    G4_TRY(g4_doc_score(e, &leaf->docs[doc], err));
    return run->finished(run->ctx, leaf, doc, err);
}

static void counted(g4_ranks *r, g4_eval *e, const char *ask)
{
    long long held = 0, computed = 0, alone = 0;
    sscanf(ask, "%lld %lld %lld", &held, &computed, &alone);
    if (held > r->memory) r->memory = held;
    e->computed += computed;
    e->alone += alone;
}

g4_status g4_ranks_lead(g4_ranks *r, g4_eval *e, const g4_eval_run *run, g4_err *err)
{
    hand h = { .e = e, .ranks = (size_t)r->size - 1 };
    g4_status s = G4_OK;
    for (size_t i = 0; i < e->count; i++)
        for (size_t k = 0; k < e->leaves[i].count; k++) h.open += is_open(&e->leaves[i].docs[k]);
    if (!(h.work = calloc(h.open + 1, sizeof *h.work))) return g4_nomem(err, "questions");
    for (size_t busy = h.ranks; s == G4_OK && busy;) {
        message m;
        if ((s = receive(&m, MPI_ANY_SOURCE, err)) != G4_OK) break;
        if (m.tag == ANSWER) {
            s = take(e, run, &m, err);
        } else {
            counted(r, e, m.data);
            size_t n = next_block(&h), bytes = n ? (n + 1) * sizeof *h.work : 0;
            MPI_Send(h.work, (int)bytes, MPI_BYTE, m.from, WORK, MPI_COMM_WORLD);
            busy -= !n;
        }
        free(m.data);
    }
    free(h.work);
    return s;
}

/* ---- the others ---- */

static void tell(int tag, const char *text)
{
    MPI_Send(text, (int)strlen(text), MPI_BYTE, 0, tag, MPI_COMM_WORLD);
}

/* Sends JSON, whose reference it takes, so that numbers come back as the same bits. */
static g4_status tell_json(int tag, json_t *v, g4_err *err)
{
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(v);
    if (!text) return g4_nomem(err, "a message");
    tell(tag, text);
    free(text);
    return G4_OK;
}

static g4_status answered(void *ctx, const g4_leaf *leaf, size_t doc, g4_err *err)
{
    json_t *line;
    (void)ctx;
    G4_TRY(g4_eval_answer(&line, leaf, doc, err));
    return tell_json(ANSWER, line, err);
}

/* For more; with the memory held so far and the tokens read since it asked before. */
static void ask(g4_eval *e)
{
    struct rusage use;
    char text[100];
    getrusage(RUSAGE_SELF, &use);
    snprintf(text, sizeof text, "%ld %lld %lld", use.ru_maxrss, (long long)e->computed,
             (long long)e->alone);
    tell(ASK, text);
    e->computed = e->alone = 0;
}

/* Opens these questions alone. */
static g4_leaf *open_block(g4_eval *e, const message *m)
{
    const int64_t *work = (const int64_t *)(const void *)m->data;
    g4_leaf *l = &e->leaves[work[0]];
    for (size_t i = 1; i < (size_t)m->n / sizeof *work; i++) l->docs[work[i]].other = 0;
    return l;
}

g4_status g4_ranks_follow(g4_eval *e, const json_t *header, const g4_eval_run *run, g4_err *err)
{
    g4_eval_run own = *run;
    own.finished = answered;
    own.ctx = NULL;
    for (size_t i = 0; i < e->count; i++)
        for (size_t k = 0; k < e->leaves[i].count; k++) e->leaves[i].docs[k].other = 1;
    G4_TRY(tell_json(READY, json_deep_copy(header), err));
    for (;;) {
        message m;
        ask(e);
        G4_TRY(receive(&m, 0, err));
        g4_leaf *leaf = m.n ? open_block(e, &m) : NULL;
        free(m.data);
        if (!leaf) return G4_OK;
        G4_TRY(g4_eval_score(e, leaf, &own, err));
    }
}

#else

g4_status g4_ranks_begin(g4_ranks *r, g4_err *err)
{
    (void)err;
    *r = (g4_ranks){ .size = 1 };
    return G4_OK;
}

void g4_ranks_end(const g4_ranks *r, g4_status s, const g4_err *err)
{
    (void)r, (void)s, (void)err;
}

/* Of several ranks, which there never are. */
static g4_status alone(g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "built without MPI=yes");
}

g4_status g4_ranks_gather(const g4_ranks *r, const json_t *header, g4_err *err)
{
    (void)r, (void)header;
    return alone(err);
}

g4_status g4_ranks_lead(g4_ranks *r, g4_eval *e, const g4_eval_run *run, g4_err *err)
{
    (void)r, (void)e, (void)run;
    return alone(err);
}

g4_status g4_ranks_follow(g4_eval *e, const json_t *header, const g4_eval_run *run, g4_err *err)
{
    (void)e, (void)header, (void)run;
    return alone(err);
}

#endif
