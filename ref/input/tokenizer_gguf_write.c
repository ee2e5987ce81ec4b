/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer as a GGUF's keys, the way llama.cpp's converter writes Gemma's.  Such a file
 * says only vocabulary, types and merges; a tokenizer.json that differs in anything else from
 * what the type "gemma4" stands for is refused. */
#include "ref/file/gguf_write.h"
#include "ref/input/tokenizer_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACE "\u2581"

static int one_step(const g4_replaces *r, const char *pattern, const char *content)
{
    return r->count == 1 && !r->step[0].prepend && strcmp(r->step[0].pattern, pattern) == 0 &&
           strcmp(r->step[0].content, content) == 0;
}

static g4_status check(const g4_tokenizer *t, const char *file, g4_err *err)
{
    const char *what = NULL;
    if (!one_step(&t->normalizer, " ", SPACE)) what = "its normalizer";
    if (!one_step(&t->decoder, SPACE, " ") || !t->decode_bytes) what = "its decoder";
    if (!t->byte_fallback || t->ignore_merges) what = "its model's flags";
    if (t->after.count || t->before.count > 1) what = "its post_processor";
    for (size_t i = 0; i < t->added_count; i++)
        if (t->added[i].lstrip || t->added[i].rstrip || t->added[i].shown)
            what = "lstrip, rstrip or normalized of an added token";
    if (!what) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: a GGUF cannot say %s", file, what);
}

static int is_byte(const g4_tokenizer *t, int32_t id)
{
    size_t len;
    const char *s = g4_tokenizer_text(t, id, &len);
    unsigned value;
    return len == 6 && sscanf(s, "<0x%2X>", &value) == 1 && value < 256 && t->byte_id[value] == id;
}

static int32_t type_of(const g4_tokenizer *t, int32_t id)
{
    size_t len;
    if (id >= g4_tokenizer_size(t)) return G4_TOKEN_UNUSED;
    int32_t added = t->added_of[id];
    const char *s = g4_tokenizer_text(t, id, &len);
    if (added >= 0)
        return t->added[added].special && !g4_token_shown(s, len) ? G4_TOKEN_CONTROL
                                                                  : G4_TOKEN_USER_DEFINED;
    return is_byte(t, id) ? G4_TOKEN_BYTE : G4_TOKEN_NORMAL;
}

static void put_tokens(const g4_tokenizer *t, int64_t vocab, g4_gguf_writer *w)
{
    char pad[32];
    g4_gguf_put_array(w, "tokenizer.ggml.tokens", G4_GGUF_STRING, (uint64_t)vocab);
    for (int32_t id = 0; id < vocab; id++) {
        size_t len;
        const char *s = pad;
        if (id < g4_tokenizer_size(t)) s = g4_tokenizer_text(t, id, &len);
        else len = (size_t)snprintf(pad, sizeof pad, "[PAD%d]", (int)id);
        g4_gguf_item_string(w, s, len);
    }
    /* Ids are all that BPE needs; the converter writes this constant, too. */
    g4_gguf_put_array(w, "tokenizer.ggml.scores", G4_GGUF_F32, (uint64_t)vocab);
    for (int64_t id = 0; id < vocab; id++) g4_gguf_item_f32(w, -1000.0);
    g4_gguf_put_array(w, "tokenizer.ggml.token_type", G4_GGUF_I32, (uint64_t)vocab);
    for (int32_t id = 0; id < vocab; id++) g4_gguf_item_int(w, G4_GGUF_I32, type_of(t, id));
}

/* In order of rank; a pair that came twice has the later one only. */
static g4_status put_merges(const g4_tokenizer *t, const char *file, g4_gguf_writer *w,
                            g4_err *err)
{
    const struct g4_pair **by_rank = calloc(t->merges.ranks + 1, sizeof(*by_rank));
    g4_text pair = { 0 };
    g4_status s = by_rank ? G4_OK : g4_nomem(err, file);
    for (size_t i = 0; s == G4_OK && i < t->merges.slot_count; i++)
        if (t->merges.slots[i].left >= 0)
            by_rank[t->merges.slots[i].rank] = &t->merges.slots[i];
    g4_gguf_put_array(w, "tokenizer.ggml.merges", G4_GGUF_STRING, t->merges.count);
    for (size_t r = 0; s == G4_OK && r < t->merges.ranks; r++) {
        if (!by_rank[r]) continue;
        size_t a, b;
        const char *left = g4_tokenizer_text(t, by_rank[r]->left, &a);
        const char *right = g4_tokenizer_text(t, by_rank[r]->right, &b);
        if (memchr(left, ' ', a) || memchr(right, ' ', b))
            s = g4_fail(err, G4_EINPUT, "%s: a GGUF cannot say a merge with a blank in it", file);
        pair.size = 0;
        if (s == G4_OK) s = g4_text_add(&pair, left, a, err);
        if (s == G4_OK) s = g4_text_add(&pair, " ", 1, err);
        if (s == G4_OK) s = g4_text_add(&pair, right, b, err);
        if (s == G4_OK) g4_gguf_item_string(w, pair.data, pair.size);
    }
    free(pair.data);
    free(by_rank);
    return s;
}

g4_status g4_tokenizer_to_gguf(const g4_tokenizer *t, const char *file, int64_t vocab,
                               g4_gguf_writer *w, g4_err *err)
{
    G4_TRY(check(t, file, err));
    if (vocab < g4_tokenizer_size(t))
        return g4_fail(err, G4_EINPUT, "%s: %d tokens for a vocabulary of %lld", file,
                       (int)g4_tokenizer_size(t), (long long)vocab);
    g4_gguf_put_string(w, "tokenizer.ggml.model", "gemma4", 6);
    put_tokens(t, vocab, w);
    G4_TRY(put_merges(t, file, w, err));
    if (t->unk >= 0)
        g4_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", (uint32_t)t->unk);
    g4_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", 0);
    g4_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", 1);   /* llama.cpp takes no other */
    return G4_OK;
}
