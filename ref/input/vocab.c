/* SPDX-License-Identifier: Apache-2.0
 * The two hash maps of a tokenizer: token text -> id and pair of ids -> merge
 * rank.  Open addressing with linear probing, at most half full, so that the
 * real vocabulary (262,144 tokens, 514,906 merges) takes 10 + 20 MB. */
#include "ref/base/rng.h"
#include "ref/input/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* Grows by doubling, so that n bytes added singly cost O(n). */
g4_status g4_text_add(g4_text *s, const void *data, size_t size, g4_err *err)
{
    if (size > SIZE_MAX / 4 - s->size) return g4_nomem(err, "text");
    if (s->size + size + 1 > s->capacity) {
        size_t capacity = 2 * (s->size + size) + 64;
        char *p = realloc(s->data, capacity);
        if (!p) return g4_nomem(err, "text");
        s->data = p;
        s->capacity = capacity;
    }
    if (size > 0) memcpy(s->data + s->size, data, size);
    s->size += size;
    s->data[s->size] = 0;
    return G4_OK;
}

/* Eight bytes at a time through the mixer; the length is the seed, so that
 * zero padding of the last word cannot collide with real zeros. */
static uint32_t hash_text(const char *text, size_t len)
{
    uint64_t h = len, word;
    for (; len >= 8; text += 8, len -= 8) {
        memcpy(&word, text, 8);
        h = g4_mix64(h * 0x9e3779b97f4a7c15u + word);
    }
    word = 0;
    memcpy(&word, text, len);
    return (uint32_t)g4_mix64(h * 0x9e3779b97f4a7c15u + word);
}

/* The slot that holds the text, or the free one where it belongs. */
static size_t vocab_slot(const g4_vocab *v, const char *text, size_t len, uint32_t hash)
{
    size_t i = hash & (v->slot_count - 1);
    for (; v->slots[i].index != 0; i = (i + 1) & (v->slot_count - 1)) {
        if (v->slots[i].hash != hash) continue;
        const struct g4_token *k = &v->tokens[v->slots[i].index - 1];
        if (k->len == len && memcmp(v->pool.data + k->at, text, len) == 0) break;
    }
    return i;
}

int32_t g4_vocab_find(const g4_vocab *v, const char *text, size_t len)
{
    if (v->count == 0) return -1;
    size_t i = vocab_slot(v, text, len, hash_text(text, len));
    return v->slots[i].index ? v->tokens[v->slots[i].index - 1].id : -1;
}

/* Makes room for one token more.  Slots hold indices, so that moving the token
 * array or the pool moves nothing else. */
static g4_status vocab_grow(g4_vocab *v, g4_err *err)
{
    if (v->count == v->capacity) {
        size_t capacity = 2 * v->capacity + 64;
        struct g4_token *p = realloc(v->tokens, capacity * sizeof *p);
        if (!p) return g4_nomem(err, "vocabulary");
        v->tokens = p;
        v->capacity = capacity;
    }
    if (2 * (v->count + 1) <= v->slot_count) return G4_OK;
    size_t count = v->slot_count ? 2 * v->slot_count : 256;
    struct g4_slot *slots = calloc(count, sizeof *slots);
    if (!slots) return g4_nomem(err, "vocabulary");
    free(v->slots);
    v->slots = slots;
    v->slot_count = count;
    for (size_t k = 0; k < v->count; k++) {   /* all differ: nothing to compare */
        size_t i = v->tokens[k].hash & (count - 1);
        while (slots[i].index != 0) i = (i + 1) & (count - 1);
        slots[i] = (struct g4_slot){ (uint32_t)k + 1, v->tokens[k].hash };
    }
    return G4_OK;
}

g4_status g4_vocab_add(g4_vocab *v, const char *text, size_t len, int32_t id, int *old,
                       g4_err *err)
{
    if (len > UINT32_MAX - v->pool.size || v->count >= INT32_MAX)
        return g4_fail(err, G4_EINPUT, "vocabulary too large");
    G4_TRY(vocab_grow(v, err));
    uint32_t hash = hash_text(text, len);
    size_t i = vocab_slot(v, text, len, hash);
    *old = v->slots[i].index != 0;
    if (*old) return G4_OK;
    struct g4_token k = { (uint32_t)v->pool.size, (uint32_t)len, id, hash };
    G4_TRY(g4_text_add(&v->pool, text, len, err));
    v->tokens[v->count++] = k;
    v->slots[i] = (struct g4_slot){ (uint32_t)v->count, hash };
    return G4_OK;
}

g4_status g4_vocab_seal(g4_vocab *v, const char *file, g4_err *err)
{
    free(v->by_id);
    v->by_id = malloc((v->count + 1) * sizeof *v->by_id);
    if (!v->by_id) return g4_nomem(err, file);
    /* count ids, each below count, none twice: then all are there. */
    for (size_t k = 0; k < v->count; k++) v->by_id[k] = -1;
    for (size_t k = 0; k < v->count; k++) {
        const struct g4_token *a = &v->tokens[k];
        const char *text = v->pool.data + a->at;
        if (a->id < 0 || (size_t)a->id >= v->count)
            return g4_fail(err, G4_EINPUT, "%s: token \"%.*s\" has id %d, but there are %zu tokens",
                           file, g4_shown(text, a->len), text, (int)a->id, v->count);
        if (v->by_id[a->id] >= 0) {
            const struct g4_token *b = &v->tokens[v->by_id[a->id]];
            return g4_fail(err, G4_EINPUT, "%s: tokens \"%.*s\" and \"%.*s\" both have id %d", file,
                           g4_shown(v->pool.data + b->at, b->len), v->pool.data + b->at,
                           g4_shown(text, a->len), text, (int)a->id);
        }
        v->by_id[a->id] = (int32_t)k;
    }
    return G4_OK;
}

void g4_vocab_free(g4_vocab *v)
{
    free(v->pool.data);
    free(v->tokens);
    free(v->slots);
    free(v->by_id);
}

/* As vocab_slot, for a pair. */
static size_t pair_slot(const g4_merges *m, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = g4_mix64(key + 0x9e3779b97f4a7c15u) & (m->slot_count - 1);
    while (m->slots[i].left >= 0 && (m->slots[i].left != left || m->slots[i].right != right))
        i = (i + 1) & (m->slot_count - 1);
    return i;
}

uint32_t g4_merges_find(const g4_merges *m, int32_t left, int32_t right)
{
    if (m->count == 0) return G4_NO_RANK;
    const struct g4_pair *p = &m->slots[pair_slot(m, left, right)];
    return p->left < 0 ? G4_NO_RANK : p->rank;
}

/* Room for one pair more, in the table and in the list of results. */
static g4_status merges_grow(g4_merges *m, g4_err *err)
{
    if (m->ranks == m->capacity) {
        size_t capacity = 2 * m->capacity + 64;
        int32_t *p = realloc(m->result, capacity * sizeof *p);
        if (!p) return g4_nomem(err, "merges");
        m->result = p;
        m->capacity = capacity;
    }
    if (2 * (m->count + 1) <= m->slot_count) return G4_OK;
    g4_merges old = *m;
    size_t count = old.slot_count ? 2 * old.slot_count : 256;
    struct g4_pair *slots = malloc(count * sizeof *slots);
    if (!slots) return g4_nomem(err, "merges");
    for (size_t i = 0; i < count; i++) slots[i] = (struct g4_pair){ -1, -1, 0 };
    m->slots = slots;
    m->slot_count = count;
    for (size_t i = 0; i < old.slot_count; i++)
        if (old.slots[i].left >= 0)
            slots[pair_slot(m, old.slots[i].left, old.slots[i].right)] = old.slots[i];
    free(old.slots);
    return G4_OK;
}

/* A pair that comes twice keeps its later rank, as in the library. */
g4_status g4_merges_add(g4_merges *m, int32_t left, int32_t right, int32_t result, g4_err *err)
{
    if (m->ranks >= INT32_MAX) return g4_fail(err, G4_EINPUT, "too many merges");
    G4_TRY(merges_grow(m, err));
    struct g4_pair *p = &m->slots[pair_slot(m, left, right)];
    if (p->left < 0) m->count++;
    *p = (struct g4_pair){ left, right, (uint32_t)m->ranks };
    m->result[m->ranks++] = result;
    return G4_OK;
}

void g4_merges_free(g4_merges *m)
{
    free(m->slots);
    free(m->result);
}
