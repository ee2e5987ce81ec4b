/* SPDX-License-Identifier: Apache-2.0
 * rounds.jsonl.  A process may be killed at any moment: a text counts once its whole line
 * has reached the disk. */
#include "harness/mtp/mtp.h"

#include "ref/base/map.h"
#include "ref/base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_JOURNAL = 1 << 30 };

struct g4_mtp_journal {
    char *path;
    int fd;
};

const char *g4_mtp_way_name(g4_draft_way way)
{
    static const char *const names[] = { "none", "hf", "llama.cpp", "vllm" };
    return names[way];
}

static g4_status data_hash(const char *path, char hex[G4_SHA256_HEX], g4_err *err)
{
    uint8_t *data;
    size_t size;
    g4_sha256 sum;
    G4_TRY(g4_file_read(path, 256 << 20, &data, &size, err));
    g4_sha256_begin(&sum);
    g4_sha256_add(&sum, data, size);
    g4_sha256_end(&sum, hex);
    free(data);
    return G4_OK;
}

/* What two runs must have in common for their texts to go together. */
static g4_status settings(const g4_mtp_study *s, json_t **out, g4_err *err)
{
    const g4_options *o = s->o;
    const g4_sampler *p = &s->opt.sampler;
    char hex[G4_SHA256_HEX];
    G4_TRY(data_hash(o->data, hex, err));
    *out = json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:b, s:I, s:s, s:f, s:I, s:f, s:I, s:b, s:s,"
                     " s:s, s:s, s:s}",
                     "format", "gemma4-mtp", "format_version", 1, "model", o->model, "draft",
                     o->draft ? o->draft : "assistant", "data_sha256", hex, "max_draft",
                     (json_int_t)s->opt.max_draft, "paced", s->opt.pace != NULL, "max_tokens",
                     (json_int_t)s->opt.max_tokens, "emulate", g4_mtp_way_name(s->opt.way),
                     "temperature", p->temperature, "top_k", (json_int_t)p->top_k, "top_p",
                     p->top_p, "seed", (json_int_t)p->seed, "ignore_eos", o->ignore_eos, "engine",
                     o->engine ? o->engine : "opt", "kv", o->kv ? o->kv : "f32", "mask",
                     o->mask ? o->mask : "official", "accept", o->accept ? o->accept : "");
    return *out ? G4_OK : g4_nomem(err, "journal");
}

static g4_status append(const g4_mtp_journal *j, json_t *line, g4_err *err)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text) return g4_nomem(err, j->path);
    size_t n = strlen(text), at = 0;
    text[n++] = '\n';   /* over the NUL */
    g4_status s = G4_OK;
    while (s == G4_OK && at < n) {
        ssize_t w = write(j->fd, text + at, n - at);
        if (w > 0) at += (size_t)w;
        else if (w < 0 && errno != EINTR)
            s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    }
    if (s == G4_OK && fsync(j->fd) != 0)
        s = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    free(text);
    return s;
}

/* ---- writing ---- */

g4_status g4_mtp_journal_add(g4_mtp_journal *j, const g4_mtp_study *s, size_t prompt,
                             size_t first_round, g4_err *err)
{
    const g4_mtp_text *t = &s->texts[prompt];
    json_t *ids = json_array(), *rounds = json_array(), *places = json_array();
    for (int64_t i = 0; i < t->tokens; i++)
        json_array_append_new(ids, json_integer(s->ids[t->first_id + (size_t)i]));
    for (size_t i = first_round; i < s->round_count; i++) {
        const g4_mtp_round *r = &s->rounds[i];
        json_array_append_new(rounds, json_pack("[i,i,i,i,i,i,f,f]", r->cached, r->k, r->matched,
                                                r->taken, r->written, r->next, r->draft_s,
                                                r->verify_s));
        for (int k = 0; k < r->k; k++) {
            const g4_mtp_place *p = &s->places[r->first + (size_t)k];
            json_array_append_new(places, json_pack("[i,f,f,f,f]", p->id, p->draft_p, p->target_p,
                                                    p->tv, p->entropy));
        }
    }
    return append(j, json_pack("{s:I, s:I, s:f, s:f, s:o, s:o, s:o}", "prompt", (json_int_t)prompt,
                               "prompt_tokens", (json_int_t)t->prompt_tokens, "prefill_s",
                               t->prefill_s, "decode_s", t->decode_s, "ids", ids, "rounds", rounds,
                               "places", places), err);
}

void g4_mtp_journal_close(g4_mtp_journal *j)
{
    if (!j) return;
    if (j->fd >= 0) close(j->fd);
    free(j->path);
    free(j);
}

/* ---- reading ---- */

static int read_round(g4_mtp_study *s, size_t prompt, const json_t *v, size_t *place,
                      const json_t *places)
{
    g4_mtp_round *r = g4_mtp_add_round(s);
    int x[6];
    if (!r || json_unpack((json_t *)v, "[i,i,i,i,i,i,F,F]", &x[0], &x[1], &x[2], &x[3], &x[4],
                          &x[5], &r->draft_s, &r->verify_s) != 0)
        return 0;
    r->prompt = (int32_t)prompt;
    r->cached = x[0];
    r->k = x[1];
    r->matched = x[2];
    r->taken = x[3];
    r->written = x[4];
    r->next = x[5];
    if (r->k < 0 || r->k > G4_MAX_DRAFT || r->matched < 0 || r->matched > r->k || r->taken < 0 ||
        r->taken > r->matched || r->written < 0 || r->written > r->matched + 1 || r->cached < 0)
        return 0;
    for (int i = 0; i < r->k; i++) {
        g4_mtp_place *p = g4_mtp_add_place(s);
        if (!p || json_unpack(json_array_get(places, (*place)++), "[i,F,F,F,F]", &p->id,
                              &p->draft_p, &p->target_p, &p->tv, &p->entropy) != 0)
            return 0;
    }
    return 1;
}

static int read_text(g4_mtp_study *s, const json_t *line)
{
    json_int_t prompt = -1, tokens = 0;
    json_t *ids, *rounds, *places, *v;
    g4_mtp_text t = { .done = 1, .first_id = s->id_count };
    size_t i, place = 0;
    if (json_unpack((json_t *)line, "{s:I, s:I, s:F, s:F, s:o, s:o, s:o}", "prompt", &prompt,
                    "prompt_tokens", &tokens, "prefill_s", &t.prefill_s, "decode_s", &t.decode_s,
                    "ids", &ids, "rounds", &rounds, "places", &places) != 0)
        return 0;
    if (prompt < 0 || (size_t)prompt >= s->count || s->texts[prompt].done) return 0;
    t.prompt_tokens = tokens;
    t.tokens = (int64_t)json_array_size(ids);
    json_array_foreach(ids, i, v)
        if (!g4_mtp_add_id(s, (int32_t)json_integer_value(v))) return 0;
    json_array_foreach(rounds, i, v)
        if (!read_round(s, (size_t)prompt, v, &place, places)) return 0;
    s->texts[prompt] = t;
    return 1;
}

/* The setting in which the two differ; NULL: in none. */
static const char *differs(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)a, key, v)
        if (!json_equal(v, json_object_get(b, key))) return key;
    return NULL;
}

/* Whole lines of the text; *size: bytes of them. */
static g4_status read_lines(g4_mtp_study *s, const char *path, const json_t *own, const char *data,
                            size_t *size, g4_err *err)
{
    const char *end;
    size_t line = 0, at = 0;
    for (; (end = memchr(data + at, '\n', *size - at)) != NULL; at = (size_t)(end - data) + 1) {
        json_t *v = json_loadb(data + at, (size_t)(end - data) - at, 0, NULL);
        line++;
        const char *key = line == 1 && v ? differs(own, v) : NULL;
        int ok = v && (line == 1 || read_text(s, v));
        json_decref(v);
        if (!ok) return g4_fail(err, G4_EINPUT, "%s: line %zu: not of this format", path, line);
        if (key)
            return g4_fail(err, G4_EINPUT, "%s: was made with another %s", path, key);
    }
    *size = at;
    return G4_OK;
}

static g4_status go_on(g4_mtp_journal *j, g4_mtp_study *s, const json_t *own, int *fresh,
                       g4_err *err)
{
    uint8_t *data;
    size_t size;
    G4_TRY(g4_file_read(j->path, MAX_JOURNAL, &data, &size, err));
    g4_status st = read_lines(s, j->path, own, (char *)data, &size, err);
    free(data);
    *fresh = size == 0;
    if (st == G4_OK && ftruncate(j->fd, (off_t)size) != 0)
        st = g4_fail(err, G4_EIO, "%s: cannot write: %s", j->path, strerror(errno));
    return st;
}

static g4_status open_file(g4_mtp_journal *j, g4_mtp_study *s, json_t *own, g4_err *err)
{
    int there = g4_path_kind(j->path) != 0, fresh = 1;
    if (there && !s->o->resume)
        return g4_fail(err, G4_EINPUT, "%s: is there already; --resume goes on with it", j->path);
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0)
        return g4_fail(err, G4_EIO, "%s: cannot open: %s", j->path, strerror(errno));
    if (there) G4_TRY(go_on(j, s, own, &fresh, err));
    return fresh ? append(j, json_incref(own), err) : G4_OK;
}

g4_status g4_mtp_journal_open(g4_mtp_journal **out, g4_mtp_study *s, g4_err *err)
{
    json_t *own = NULL;
    size_t n = strlen(s->o->out) + sizeof "/rounds.jsonl";
    *out = NULL;
    g4_mtp_journal *j = calloc(1, sizeof *j);
    if (!j || !(j->path = malloc(n))) {
        free(j);
        return g4_nomem(err, s->o->out);
    }
    j->fd = -1;
    snprintf(j->path, n, "%s/rounds.jsonl", s->o->out);
    g4_status st = settings(s, &own, err);
    if (st == G4_OK) st = open_file(j, s, own, err);
    json_decref(own);
    if (st == G4_OK) *out = j;
    else g4_mtp_journal_close(j);
    return st;
}
