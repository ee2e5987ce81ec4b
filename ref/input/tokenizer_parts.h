/* SPDX-License-Identifier: Apache-2.0
 * The inside of a tokenizer; only ref/input/{tokenizer,tokenizer_*,vocab,bpe,
 * added,detok}.c may look.
 *
 *   tokenizer.json --cursor--> vocab (text <-> id), merges (pair -> rank)
 *                  --jansson-> added tokens, normaliser, decoder, template
 *   text --added--> pieces --normalise--> --added--> --bpe--> ids --template--> ids */
#ifndef G4_INPUT_TOKENIZER_PARTS_H
#define G4_INPUT_TOKENIZER_PARTS_H

#include "ref/base/json.h"
#include "ref/input/tokenizer.h"

enum { G4_MAX_REPLACES = 8 };

/* A growing byte string, malloc'ed. */
typedef struct g4_text {
    char *data;
    size_t size, capacity;
} g4_text;

g4_status g4_text_add(g4_text *s, const void *data, size_t size, g4_err *err);

/* For "%.*s" in messages: at most 60 bytes, not ending inside a character. */
static inline int g4_shown(const char *text, size_t len)
{
    if (len <= 60) return (int)len;
    int n = 60;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    return n;
}

/* --- vocab.c: token texts and the ids they have ------------------------- */
typedef struct g4_vocab {
    g4_text pool;                      /* the texts, one behind the other */
    struct g4_token { uint32_t at, len; int32_t id; uint32_t hash; } *tokens;   /* file's order */
    size_t count, capacity;
    /* Open addressing; index in tokens + 1, 0 free.  The hash is here too, so
     * that a search goes to tokens and pool only for what it finds. */
    struct g4_slot { uint32_t index, hash; } *slots;
    size_t slot_count;                 /* a power of two, at least 2 * count */
    int32_t *by_id;                    /* [count]: index in tokens, made by g4_vocab_seal */
} g4_vocab;

/* *old: the text was there before; then nothing is added. */
g4_status g4_vocab_add(g4_vocab *v, const char *text, size_t len, int32_t id, int *old,
                       g4_err *err);
int32_t g4_vocab_find(const g4_vocab *v, const char *text, size_t len);   /* id or -1 */
/* Every id from 0 to count - 1 is there once, or an error that names the token. */
g4_status g4_vocab_seal(g4_vocab *v, const char *file, g4_err *err);
void g4_vocab_free(g4_vocab *v);

static inline const char *g4_vocab_text(const g4_vocab *v, int32_t id, size_t *len)
{
    const struct g4_token *k = &v->tokens[v->by_id[id]];
    *len = k->len;
    return v->pool.data + k->at;
}

/* --- merges: which two tokens become one, and how early ------------------ */
typedef struct g4_merges {
    struct g4_pair { int32_t left, right; uint32_t rank; } *slots;   /* left -1: free */
    size_t slot_count, count;
    int32_t *result;                   /* [ranks]: the token that the pair of this rank becomes */
    size_t ranks, capacity;
} g4_merges;

enum { G4_NO_RANK = UINT32_MAX };

g4_status g4_merges_add(g4_merges *m, int32_t left, int32_t right, int32_t result, g4_err *err);
uint32_t g4_merges_find(const g4_merges *m, int32_t left, int32_t right);   /* or G4_NO_RANK */
void g4_merges_free(g4_merges *m);

/* --- added.c: tokens that are cut out of the text before BPE ------------- */
typedef struct g4_added {
    int32_t id;
    int lstrip, rstrip, normalized, special;
    char *shown;                       /* normalised text where that differs, else NULL */
    size_t shown_len;
} g4_added;

/* A trie of bytes; node 0 is the root, children are a list in no order. */
typedef struct g4_trie {
    struct g4_node { uint32_t child, next; int32_t added; uint8_t byte; } *nodes;
    size_t count, capacity;
    uint32_t first[256];               /* the root's children, by byte */
} g4_trie;

/* added: index of the token; *taken is set where the text is in the trie already. */
g4_status g4_trie_add(g4_trie *t, const char *text, size_t len, int32_t added, int *taken,
                      g4_err *err);
void g4_trie_free(g4_trie *t);

/* Walks over text: gaps and added tokens in turn, the library's way. */
typedef struct g4_cut {
    const g4_tokenizer *t;
    const g4_trie *trie;
    const char *text;
    size_t size;
    size_t scan, done;                 /* looked at for tokens; handed out or stripped */
    size_t spaces;                     /* everything from scan to here is white space */
} g4_cut;

/* The next token: its index in t->added, or -1 at the end.  [*from, *to) is the
 * gap in front of it, perhaps empty. */
int32_t g4_cut_next(g4_cut *c, size_t *from, size_t *to);

/* --- replace.c: steps of normaliser and decoder --------------------------- */
typedef struct g4_replace {
    int prepend;                       /* content is put in front; no pattern */
    char *pattern, *content;           /* malloc'ed, no NUL inside */
} g4_replace;

typedef struct g4_replaces {
    g4_replace step[G4_MAX_REPLACES];
    int count;
} g4_replaces;

/* Appends text, sent through all steps, to out. */
g4_status g4_replaces_run(const g4_replaces *r, const char *text, size_t len, g4_text *out,
                          g4_err *err);

struct g4_tokenizer {
    g4_vocab vocab;
    int32_t model_size;                /* ids from here on belong to added tokens only */
    g4_merges merges;
    int32_t byte_id[256];              /* "<0x00>".."<0xFF>"; -1 without byte_fallback */
    int32_t unk;                       /* -1: unknown characters vanish */
    int byte_fallback, fuse_unk, ignore_merges;
    g4_added *added;
    size_t added_count;
    int32_t *added_of;                 /* [vocab.count]: index in added or -1 */
    g4_trie raw, normal;               /* entries matched before / after the normaliser */
    g4_replaces normalizer, decoder;
    int decode_bytes, decode_spaced;   /* ByteFallback there; no decoder: joined by spaces */
    g4_ids before, after;              /* what the template puts around the text */
    int32_t bos;
};

/* --- tokenizer_json.c: a cursor over the two big members ----------------- */
typedef struct g4_cursor {
    const char *file;
    const uint8_t *data;
    size_t at, end;
    const char *str;                   /* the last string: in data, or in buf if it had escapes */
    size_t len;
    g4_text buf;
} g4_cursor;

typedef struct g4_span {
    size_t at, end;                    /* at == end: not there */
} g4_span;

/* Where model.vocab and model.merges lie. */
g4_status g4_tokenizer_spans(const char *file, const uint8_t *data, size_t size, g4_span *vocab,
                             g4_span *merges, g4_err *err);
g4_status g4_tokenizer_vocab(g4_tokenizer *t, g4_cursor *c, g4_err *err);
g4_status g4_tokenizer_merges(g4_tokenizer *t, g4_cursor *c, g4_err *err);

/* --- bpe.c: one piece of normalised text to ids --------------------------- */
typedef struct g4_bpe {
    struct g4_symbol { int32_t id, prev, next; } *symbols;   /* id -1: merged away */
    uint64_t *heap;                    /* rank << 32 | position */
    size_t capacity, heap_capacity, count, heap_count;
} g4_bpe;

g4_status g4_bpe_encode(const g4_tokenizer *t, g4_bpe *b, const char *text, size_t len,
                        g4_ids *out, g4_err *err);
void g4_bpe_free(g4_bpe *b);

#endif
