/* SPDX-License-Identifier: Apache-2.0
 * Byte pair encoding of one piece of text.
 *   1. Each character becomes its token; one that has none becomes the tokens
 *      of its UTF-8 bytes, or the unknown token (neighbouring ones fused).
 *   2. Of all neighbours that have a merge, the one of lowest rank, leftmost
 *      among equals, becomes one token; until none is left.
 * Step 2 takes candidates from a heap and looks whether each still stands, so
 * it is O(n log n) for a piece of n characters; pieces are as long as the text
 * between two added tokens.  Same order as the `tokenizers` library's, also for
 * stale candidates whose place has come to hold another pair of equal result. */
#include "ref/input/tokenizer_parts.h"
#include "ref/input/utf8.h"

#include <assert.h>
#include <stdlib.h>

/* A 4-ary min-heap: half the levels of a binary one, and four children share a
 * cache line. */
static void heap_push(g4_bpe *b, uint64_t key)
{
    size_t i = b->heap_count++;
    while (i > 0 && b->heap[(i - 1) / 4] > key) {
        b->heap[i] = b->heap[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    b->heap[i] = key;
}

static uint64_t heap_pop(g4_bpe *b)
{
    uint64_t top = b->heap[0], key = b->heap[--b->heap_count];
    size_t i = 0, n = b->heap_count;
    for (;;) {
        size_t child = 4 * i + 1, last = child + 4 < n ? child + 4 : n;
        if (child >= n) break;
        size_t best = child;
        for (child++; child < last; child++)
            if (b->heap[child] < b->heap[best]) best = child;
        if (b->heap[best] >= key) break;
        b->heap[i] = b->heap[best];
        i = best;
    }
    b->heap[i] = key;
    return top;
}

/* Room for n symbols.  Each merge takes one candidate off the heap and puts at
 * most two on, so with n - 1 at the start there are never 2n. */
static g4_status reserve(g4_bpe *b, size_t n, g4_err *err)
{
    if (n > INT32_MAX - 1)
        return g4_fail(err, G4_EINPUT, "text: %zu characters without an added token, too many", n);
    if (n <= b->capacity) return G4_OK;
    size_t capacity = n + n / 2 + 64;
    free(b->symbols);
    free(b->heap);
    b->symbols = malloc(capacity * sizeof *b->symbols);
    b->heap = malloc(2 * capacity * sizeof *b->heap);
    b->capacity = b->symbols && b->heap ? capacity : 0;
    return b->capacity ? G4_OK : g4_nomem(err, "text");
}

static void add_symbol(g4_bpe *b, int32_t id)
{
    int32_t i = (int32_t)b->count++;
    b->symbols[i] = (struct g4_symbol){ .id = id, .prev = i - 1, .next = i + 1 };
}

/* Step 1.  An unknown token waits until a known character ends it, even across
 * byte tokens: the library does that. */
static void split(const g4_tokenizer *t, g4_bpe *b, const char *text, size_t len)
{
    int waiting = 0;
    for (size_t at = 0, n; at < len; at += n) {
        const uint8_t *p = (const uint8_t *)text + at;
        n = g4_utf8_len(p, len - at);
        assert(n > 0);
        int32_t id = g4_vocab_find(&t->vocab, text + at, n);
        if (id >= 0 && id < t->model_size) {
            if (waiting) add_symbol(b, t->unk);
            waiting = 0;
            add_symbol(b, id);
        } else if (t->byte_fallback) {
            for (size_t i = 0; i < n; i++) add_symbol(b, t->byte_id[p[i]]);
        } else if (t->unk >= 0) {
            if (waiting && !t->fuse_unk) add_symbol(b, t->unk);
            waiting = 1;
        }
    }
    if (waiting) add_symbol(b, t->unk);
    if (b->count > 0) b->symbols[b->count - 1].next = -1;
}

static void candidate(const g4_tokenizer *t, g4_bpe *b, int32_t left, int32_t right)
{
    uint32_t rank = g4_merges_find(&t->merges, b->symbols[left].id, b->symbols[right].id);
    if (rank != G4_NO_RANK) heap_push(b, (uint64_t)rank << 32 | (uint32_t)left);
}

/* Step 2. */
static void merge(const g4_tokenizer *t, g4_bpe *b)
{
    struct g4_symbol *s = b->symbols;
    b->heap_count = 0;
    for (size_t i = 0; i + 1 < b->count; i++) candidate(t, b, (int32_t)i, (int32_t)i + 1);
    while (b->heap_count > 0) {
        uint64_t key = heap_pop(b);
        int32_t left = (int32_t)(key & 0xffffffffu), right = s[left].next;
        int32_t result = t->merges.result[key >> 32];
        if (s[left].id < 0 || right < 0) continue;
        uint32_t rank = g4_merges_find(&t->merges, s[left].id, s[right].id);
        if (rank == G4_NO_RANK || t->merges.result[rank] != result) continue;
        s[left].id = result;
        s[left].next = s[right].next;
        s[right].id = -1;
        if (s[left].next >= 0) s[s[left].next].prev = left;
        if (s[left].prev >= 0) candidate(t, b, s[left].prev, left);
        if (s[left].next >= 0) candidate(t, b, left, s[left].next);
    }
}

g4_status g4_bpe_encode(const g4_tokenizer *t, g4_bpe *b, const char *text, size_t len,
                        g4_ids *out, g4_err *err)
{
    if (len == 0) return G4_OK;
    if (t->ignore_merges) {
        int32_t id = g4_vocab_find(&t->vocab, text, len);
        if (id >= 0 && id < t->model_size) return g4_ids_push(out, id, err);
    }
    G4_TRY(reserve(b, len, err));   /* a byte becomes one symbol at most */
    b->count = 0;
    split(t, b, text, len);
    merge(t, b);
    for (size_t i = 0; i < b->count; i++)
        if (b->symbols[i].id >= 0) G4_TRY(g4_ids_push(out, b->symbols[i].id, err));
    return G4_OK;
}

void g4_bpe_free(g4_bpe *b)
{
    free(b->symbols);
    free(b->heap);
    *b = (g4_bpe){ 0 };
}
