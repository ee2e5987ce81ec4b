/* SPDX-License-Identifier: Apache-2.0
 * Added tokens: found in the text before BPE, leftmost first, the longest where
 * several start at one place.  lstrip and rstrip tokens swallow the white space
 * (Unicode's White_Space) beside them. */
#include "ref/input/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* Where the list of a node's children starts. */
static uint32_t *children(g4_trie *t, uint32_t node, uint8_t byte)
{
    return node == 0 ? &t->first[byte] : &t->nodes[node].child;
}

/* The child of node by this byte; 0: none (the root is nobody's child). */
static uint32_t child(const g4_trie *t, uint32_t node, uint8_t byte)
{
    if (node == 0) return t->first[byte];
    uint32_t n = t->nodes[node].child;
    while (n != 0 && t->nodes[n].byte != byte) n = t->nodes[n].next;
    return n;
}

static g4_status grow(g4_trie *t, g4_err *err)
{
    if (t->count < t->capacity) return G4_OK;
    size_t capacity = 2 * t->capacity + 64;
    struct g4_node *p = realloc(t->nodes, capacity * sizeof *p);
    if (!p) return g4_nomem(err, "added tokens");
    t->nodes = p;
    t->capacity = capacity;
    if (t->count == 0) t->nodes[t->count++] = (struct g4_node){ .added = -1 };   /* the root */
    return G4_OK;
}

g4_status g4_trie_add(g4_trie *t, const char *text, size_t len, int32_t added, int *taken,
                      g4_err *err)
{
    uint32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)text[i];
        G4_TRY(grow(t, err));
        uint32_t next = child(t, node, byte);
        if (next == 0) {
            if (t->count >= UINT32_MAX) return g4_nomem(err, "added tokens");
            next = (uint32_t)t->count++;
            uint32_t *list = children(t, node, byte);
            t->nodes[next] = (struct g4_node){ .next = *list, .added = -1, .byte = byte };
            *list = next;
        }
        node = next;
    }
    *taken = t->nodes[node].added >= 0;
    if (!*taken) t->nodes[node].added = added;
    return G4_OK;
}

void g4_trie_free(g4_trie *t)
{
    free(t->nodes);
}

/* The longest entry that text starts with: its index, -1 none; *len its bytes. */
static int32_t match(const g4_trie *t, const char *text, size_t size, size_t *len)
{
    int32_t found = -1;
    uint32_t node = 0;
    for (size_t i = 0; i < size; i++) {
        node = child(t, node, (uint8_t)text[i]);
        if (node == 0) break;
        if (t->nodes[node].added >= 0) {
            found = t->nodes[node].added;
            *len = i + 1;
        }
    }
    return found;
}

/* Bytes of the white-space character at text; 0: it is something else. */
static size_t space_len(const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;
    if (size >= 1 && ((p[0] >= 9 && p[0] <= 13) || p[0] == ' ')) return 1;
    if (size >= 2 && p[0] == 0xc2 && (p[1] == 0x85 || p[1] == 0xa0)) return 2;
    if (size < 3) return 0;
    uint32_t c = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
    if (c == 0xe19a80 || (c >= 0xe28080 && c <= 0xe2808a) || c == 0xe280a8 || c == 0xe280a9 ||
        c == 0xe280af || c == 0xe2819f || c == 0xe38080)
        return 3;
    return 0;
}

/* Where the white space that ends at `to` starts, not before `low`. */
static size_t space_start(const char *text, size_t low, size_t to)
{
    for (;;) {
        size_t n = 0;
        for (size_t k = 1; k <= 3 && n == 0 && to >= low + k; k++)
            if (space_len(text + to - k, k) == k) n = k;
        if (n == 0) return to;
        to -= n;
    }
}

int32_t g4_cut_next(g4_cut *c, size_t *from, size_t *to)
{
    while (c->trie->count > 0 && c->scan < c->size) {
        size_t len = 0, at = c->scan;
        int32_t i = -1;
        if (child(c->trie, 0, (uint8_t)c->text[at]) != 0)
            i = match(c->trie, c->text + at, c->size - at, &len);
        if (i < 0) {
            c->scan++;
            continue;
        }
        const g4_added *a = &c->t->added[i];
        size_t start = at, stop = at + len;
        if (a->lstrip && start > c->done) start = space_start(c->text, c->done, start);
        if (a->rstrip) {
            /* A token of white space may lie in what the last one swallowed. */
            if (c->spaces > stop) stop = c->spaces;
            for (size_t n; (n = space_len(c->text + stop, c->size - stop)) > 0;) stop += n;
            c->spaces = stop;
        }
        *from = c->done;
        *to = start > c->done ? start : c->done;
        c->scan = at + len;
        c->done = stop;
        return i;
    }
    *from = c->done;
    *to = c->size > c->done ? c->size : c->done;
    c->done = c->scan = c->size;
    return -1;
}
