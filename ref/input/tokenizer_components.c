/* SPDX-License-Identifier: Apache-2.0
 * The components of tokenizer.json: which are known, what they may say, and
 * what of it matters here.  What is not known is refused by name: a guess would
 * give wrong ids without a word. */
#include "ref/input/tokenizer_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ADDED_BYTES = 1024 };

/* "file: part: what". */
static g4_status refuse(const g4_json *j, const char *part, const char *what, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: %s: %s", j->file, part, what);
}

/* The "type" of a component. */
static g4_status type_of(const g4_json *j, const char *part, const char **type, g4_err *err)
{
    *type = NULL;
    G4_TRY(g4_json_opt_str(j, "type", type, err));
    return *type ? G4_OK : refuse(j, part, "type is missing", err);
}

static g4_status unknown(const g4_json *j, const char *part, const char *type, g4_err *err)
{
    return g4_fail(err, G4_EINPUT, "%s: %s of type \"%.*s\" is not supported here", j->file, part,
                   g4_shown(type, strlen(type)), type);
}

/* { "String": text }, as in Replace and Split. */
static g4_status pattern_of(const g4_json *j, const char *part, const char **text, g4_err *err)
{
    g4_json p;
    *text = NULL;
    G4_TRY(g4_json_object(j, "pattern", 1, &p, err));
    G4_TRY(g4_json_opt_str(&p, "String", text, err));
    if (!*text)
        return refuse(j, part, "a pattern other than {\"String\": ...} is not supported", err);
    return **text ? G4_OK : refuse(j, part, "the pattern is empty", err);
}

/* pattern NULL: a Prepend. */
static g4_status add_step(g4_replaces *r, const g4_json *j, const char *part, const char *pattern,
                          const char *content, g4_err *err)
{
    if (r->count == G4_MAX_REPLACES) return refuse(j, part, "more steps than 8", err);
    if (!content) return refuse(j, part, "content is missing", err);
    g4_replace *s = &r->step[r->count];
    s->prepend = pattern == NULL;
    s->pattern = pattern ? strdup(pattern) : NULL;
    s->content = strdup(content);
    if ((pattern && !s->pattern) || !s->content) {
        free(s->pattern);
        free(s->content);
        return g4_nomem(err, j->file);
    }
    r->count++;
    return G4_OK;
}

static g4_status replace_step(g4_replaces *r, const g4_json *j, const char *part, g4_err *err)
{
    const char *pattern, *content = NULL;
    G4_TRY(pattern_of(j, part, &pattern, err));
    G4_TRY(g4_json_opt_str(j, "content", &content, err));
    return add_step(r, j, part, pattern, content, err);
}

/* A Sequence may hold Sequences; jansson has bounded the nesting. */
static g4_status normalizer(g4_tokenizer *t, const g4_json *j, g4_err *err)
{
    const char *type, *content = NULL;
    G4_TRY(type_of(j, "normalizer", &type, err));
    if (strcmp(type, "Replace") == 0) return replace_step(&t->normalizer, j, "normalizer", err);
    if (strcmp(type, "Prepend") == 0) {
        G4_TRY(g4_json_opt_str(j, "prepend", &content, err));
        return add_step(&t->normalizer, j, "normalizer", NULL, content, err);
    }
    if (strcmp(type, "Sequence") != 0) return unknown(j, "normalizer", type, err);
    g4_json list;
    G4_TRY(g4_json_array(j, "normalizers", 1, &list, err));
    for (size_t i = 0; i < json_array_size(list.root); i++) {
        g4_json step = { .root = json_array_get(list.root, i), .file = j->file };
        G4_TRY(normalizer(t, &step, err));
    }
    return G4_OK;
}

/* Replace steps, then ByteFallback, then Fuse; each may be missing.  Joining is
 * what happens anyway, so Fuse only ends the list. */
static g4_status decoder(g4_tokenizer *t, const g4_json *j, int *fused, g4_err *err)
{
    const char *type;
    G4_TRY(type_of(j, "decoder", &type, err));
    if (strcmp(type, "Sequence") == 0) {
        g4_json list;
        G4_TRY(g4_json_array(j, "decoders", 1, &list, err));
        for (size_t i = 0; i < json_array_size(list.root); i++) {
            g4_json step = { .root = json_array_get(list.root, i), .file = j->file };
            G4_TRY(decoder(t, &step, fused, err));
        }
        return G4_OK;
    }
    int replace = strcmp(type, "Replace") == 0, bytes = strcmp(type, "ByteFallback") == 0;
    int fuse = strcmp(type, "Fuse") == 0;
    if (!replace && !bytes && !fuse) return unknown(j, "decoder", type, err);
    if ((replace && (t->decode_bytes || *fused)) || (bytes && (t->decode_bytes || *fused)))
        return refuse(j, "decoder", "only the order Replace, ByteFallback, Fuse is supported", err);
    if (replace) return replace_step(&t->decoder, j, "decoder", err);
    if (bytes) t->decode_bytes = 1;
    if (fuse) *fused = 1;
    return G4_OK;
}

/* A Split is fine where it never splits: its pattern is one character, and the
 * normaliser's last step has replaced all of those. */
static g4_status pre_tokenizer(const g4_tokenizer *t, const g4_json *j, g4_err *err)
{
    const char *type, *pattern;
    int invert = 0;
    G4_TRY(type_of(j, "pre_tokenizer", &type, err));
    if (strcmp(type, "Split") != 0) return unknown(j, "pre_tokenizer", type, err);
    G4_TRY(pattern_of(j, "pre_tokenizer", &pattern, err));
    G4_TRY(g4_json_opt_bool(j, "invert", &invert, err));
    const g4_replaces *n = &t->normalizer;
    const g4_replace *last = n->count ? &n->step[n->count - 1] : NULL;
    size_t len = 1;   /* of the first character: jansson has seen to it that it is UTF-8 */
    while (((unsigned char)pattern[len] & 0xc0) == 0x80) len++;
    if (invert || pattern[len] || !last || last->prepend || strcmp(last->pattern, pattern) != 0 ||
        strstr(last->content, pattern))
        return refuse(j, "pre_tokenizer", "a Split whose pattern the normalizer leaves in the text "
                      "is not supported", err);
    return G4_OK;
}

/* The ids of one { "SpecialToken": { "id": name } } of the template. */
static g4_status template_token(const g4_tokenizer *t, const g4_json *post, const g4_json *token,
                                g4_ids *out, g4_err *err)
{
    const char *name = NULL;
    g4_json tokens, entry, ids;
    G4_TRY(g4_json_opt_str(token, "id", &name, err));
    if (!name) return refuse(post, "post_processor", "a SpecialToken has no id", err);
    G4_TRY(g4_json_object(post, "special_tokens", 1, &tokens, err));
    if (!json_is_object(json_object_get(tokens.root, name)))
        return g4_fail(err, G4_EINPUT, "%s: post_processor: \"%.*s\" is not in special_tokens",
                       post->file, g4_shown(name, strlen(name)), name);
    G4_TRY(g4_json_object(&tokens, name, 1, &entry, err));
    G4_TRY(g4_json_array(&entry, "ids", 1, &ids, err));
    for (size_t i = 0; i < json_array_size(ids.root); i++) {
        json_t *v = json_array_get(ids.root, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= g4_tokenizer_size(t))
            return g4_fail(err, G4_EINPUT, "%s: post_processor: ids of \"%.*s\": entry %zu is not "
                           "an id from 0 to %d", post->file, g4_shown(name, strlen(name)), name, i,
                           (int)g4_tokenizer_size(t) - 1);
        G4_TRY(g4_ids_push(out, (int32_t)id, err));
    }
    return G4_OK;
}

/* TemplateProcessing for one text ("single"): tokens, the text, tokens. */
static g4_status post_processor(g4_tokenizer *t, const g4_json *j, g4_err *err)
{
    const char *type;
    g4_json single, token, text;
    int texts = 0;
    G4_TRY(type_of(j, "post_processor", &type, err));
    if (strcmp(type, "TemplateProcessing") != 0) return unknown(j, "post_processor", type, err);
    G4_TRY(g4_json_array(j, "single", 1, &single, err));
    for (size_t i = 0; i < json_array_size(single.root); i++) {
        g4_json piece = { .root = json_array_get(single.root, i), .file = j->file };
        const char *name = NULL;
        G4_TRY(g4_json_object(&piece, "SpecialToken", 0, &token, err));
        G4_TRY(g4_json_object(&piece, "Sequence", 0, &text, err));
        if (!token.root == !text.root)
            return refuse(j, "post_processor", "a piece of single is neither SpecialToken nor "
                          "Sequence", err);
        if (token.root) {
            G4_TRY(template_token(t, j, &token, texts ? &t->after : &t->before, err));
            continue;
        }
        G4_TRY(g4_json_opt_str(&text, "id", &name, err));
        if (!name || strcmp(name, "A") != 0 || texts++)
            return refuse(j, "post_processor", "single must have the Sequence A once and no "
                          "other", err);
    }
    if (!texts) return refuse(j, "post_processor", "single has no Sequence A", err);
    t->bos = t->before.count ? t->before.ids[0] : -1;
    return G4_OK;
}

/* Texts of single prompts are not padded, and must not be cut. */
static g4_status padding(const g4_json *root, g4_err *err)
{
    const char *strategy = NULL;
    int64_t multiple = 0;
    g4_json j;
    if (g4_json_has(root, "truncation"))
        return refuse(root, "truncation", "cutting texts short is not supported; set it to null",
                      err);
    if (!g4_json_has(root, "padding")) return G4_OK;
    G4_TRY(g4_json_object(root, "padding", 0, &j, err));
    if (!json_is_object(json_object_get(j.root, "strategy")))
        G4_TRY(g4_json_opt_str(&j, "strategy", &strategy, err));
    G4_TRY(g4_json_opt_int(&j, "pad_to_multiple_of", 0, INT32_MAX, &multiple, err));
    if (!strategy || strcmp(strategy, "BatchLongest") != 0 || multiple > 1)
        return refuse(root, "padding", "padding of a single text is not supported; set it to null",
                      err);
    return G4_OK;
}

/* "<0x00>" to "<0xFF>": all or an error, so that no byte of a text is ever lost.
 * What looks like one and is none would decode to its own name. */
static g4_status byte_tokens(g4_tokenizer *t, const g4_json *j, g4_err *err)
{
    char name[8];
    for (int32_t id = 0; t->byte_fallback && id < t->model_size; id++) {
        size_t len;
        const char *text = g4_vocab_text(&t->vocab, id, &len);
        if (len == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' &&
            strspn(text + 3, "0123456789ABCDEFabcdef") != 2)
            return g4_fail(err, G4_EINPUT, "%s: model.vocab: \"%.6s\" (id %d) is a malformed byte "
                           "token", j->file, text, (int)id);
    }
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "<0x%02X>", i);
        t->byte_id[i] = t->byte_fallback ? g4_vocab_find(&t->vocab, name, 6) : -1;
        if (t->byte_fallback && t->byte_id[i] < 0)
            return g4_fail(err, G4_EINPUT, "%s: model: byte_fallback is set, but token %s is "
                           "missing", j->file, name);
    }
    return G4_OK;
}

/* Everything of the model but vocab and merges. */
static g4_status model(g4_tokenizer *t, const g4_json *j, g4_err *err)
{
    const char *type = "BPE", *prefix = "", *suffix = "", *unk = NULL;
    double dropout = 0;
    G4_TRY(g4_json_opt_str(j, "type", &type, err));
    if (strcmp(type, "BPE") != 0) return unknown(j, "model", type, err);
    G4_TRY(g4_json_opt_num(j, "dropout", 0, 1, &dropout, err));
    if (dropout != 0) return refuse(j, "model", "dropout is not supported", err);
    G4_TRY(g4_json_opt_str(j, "continuing_subword_prefix", &prefix, err));
    G4_TRY(g4_json_opt_str(j, "end_of_word_suffix", &suffix, err));
    if (*prefix || *suffix)
        return refuse(j, "model", "continuing_subword_prefix and end_of_word_suffix are not "
                      "supported", err);
    G4_TRY(g4_json_opt_bool(j, "fuse_unk", &t->fuse_unk, err));
    G4_TRY(g4_json_opt_bool(j, "byte_fallback", &t->byte_fallback, err));
    G4_TRY(g4_json_opt_bool(j, "ignore_merges", &t->ignore_merges, err));
    G4_TRY(g4_json_opt_str(j, "unk_token", &unk, err));
    t->unk = unk ? g4_vocab_find(&t->vocab, unk, strlen(unk)) : -1;
    if (unk && t->unk < 0)
        return g4_fail(err, G4_EINPUT, "%s: model: unk_token \"%.*s\" is not in the vocabulary",
                       j->file, g4_shown(unk, strlen(unk)), unk);
    return byte_tokens(t, j, err);
}

/* The library requires all five; a default would be a guess. */
static g4_status flag(const g4_json *j, const char *key, size_t i, int *out, g4_err *err)
{
    if (!g4_json_has(j, key))
        return g4_fail(err, G4_EINPUT, "%s: added_tokens, entry %zu: %s is missing", j->file, i,
                       key);
    return g4_json_opt_bool(j, key, out, err);
}

/* Puts the text that is looked for into the trie where it belongs. */
static g4_status add_pattern(g4_tokenizer *t, const g4_json *j, size_t i, const char *content,
                             size_t len, g4_err *err)
{
    g4_added *a = &t->added[i];
    g4_text norm = { 0 };
    int taken = 0;
    g4_status s = G4_OK;
    if (a->normalized) s = g4_replaces_run(&t->normalizer, content, len, &norm, err);
    else s = g4_text_add(&norm, content, len, err);
    if (s == G4_OK && norm.size == 0)
        s = g4_fail(err, G4_EINPUT, "%s: added_tokens, entry %zu: empty when normalised", j->file,
                    i);
    if (s == G4_OK)
        s = g4_trie_add(a->normalized ? &t->normal : &t->raw, norm.data, norm.size, (int32_t)i,
                        &taken, err);
    if (s == G4_OK && taken)
        s = g4_fail(err, G4_EINPUT, "%s: added_tokens, entry %zu: \"%.*s\" is there twice", j->file,
                    i, g4_shown(content, len), content);
    if (s != G4_OK || (norm.size == len && memcmp(norm.data, content, len) == 0)) {
        free(norm.data);
        return s;
    }
    a->shown = norm.data;
    a->shown_len = norm.size;
    return G4_OK;
}

/* Entry i of added_tokens.  A text that the vocabulary has keeps its id there;
 * others get the next free ids in the order of the list: so does the library,
 * whatever the file says, and we want the file to say the same. */
static g4_status added_token(g4_tokenizer *t, const g4_json *j, size_t i, g4_err *err)
{
    const char *content = NULL;
    int64_t id;
    int single_word = 0, old = 0;
    g4_added *a = &t->added[i];
    G4_TRY(g4_json_req_int(j, "id", 0, INT32_MAX, &id, err));
    G4_TRY(g4_json_opt_str(j, "content", &content, err));
    size_t len = content ? strlen(content) : 0;
    if (len == 0 || len > MAX_ADDED_BYTES)
        return g4_fail(err, G4_EINPUT, "%s: added_tokens, entry %zu: content has %zu bytes, "
                       "expected 1 to %d", j->file, i, len, (int)MAX_ADDED_BYTES);
    G4_TRY(flag(j, "single_word", i, &single_word, err));
    G4_TRY(flag(j, "lstrip", i, &a->lstrip, err));
    G4_TRY(flag(j, "rstrip", i, &a->rstrip, err));
    G4_TRY(flag(j, "normalized", i, &a->normalized, err));
    G4_TRY(flag(j, "special", i, &a->special, err));
    if (single_word)
        return g4_fail(err, G4_EINPUT, "%s: added_tokens, entry %zu: \"%.*s\" has single_word, "
                       "which is not supported", j->file, i, g4_shown(content, len), content);
    int32_t have = g4_vocab_find(&t->vocab, content, len);
    a->id = have >= 0 ? have : (int32_t)t->vocab.count;
    if (a->id != id)
        return g4_fail(err, G4_EINPUT, "%s: added_tokens, entry %zu: \"%.*s\" has id %lld, but "
                       "%s %d", j->file, i, g4_shown(content, len), content, (long long)id,
                       have >= 0 ? "in the vocabulary it has" : "the next free id is", (int)a->id);
    if (have < 0) G4_TRY(g4_vocab_add(&t->vocab, content, len, a->id, &old, err));
    return add_pattern(t, j, i, content, len, err);
}

/* The tokens, the tries that find them, and which id is which. */
static g4_status added_tokens(g4_tokenizer *t, const g4_json *root, g4_err *err)
{
    g4_json list;
    G4_TRY(g4_json_array(root, "added_tokens", 0, &list, err));
    size_t n = json_array_size(list.root);
    t->added = calloc(n + 1, sizeof *t->added);
    if (!t->added) return g4_nomem(err, root->file);
    t->added_count = n;
    for (size_t i = 0; i < n; i++) {
        g4_json j = { .root = json_array_get(list.root, i), .file = root->file };
        G4_TRY(added_token(t, &j, i, err));
    }
    G4_TRY(g4_vocab_seal(&t->vocab, root->file, err));
    t->added_of = malloc(t->vocab.count * sizeof *t->added_of);
    if (!t->added_of) return g4_nomem(err, root->file);
    for (size_t i = 0; i < t->vocab.count; i++) t->added_of[i] = -1;
    for (size_t i = 0; i < n; i++) {
        /* The same text once matched raw and once normalised. */
        if (t->added_of[t->added[i].id] >= 0)
            return g4_fail(err, G4_EINPUT, "%s: added_tokens, entry %zu: id %d is there twice",
                           root->file, i, (int)t->added[i].id);
        t->added_of[t->added[i].id] = (int32_t)i;
    }
    return G4_OK;
}

/* In the order in which they need each other: byte tokens and unk_token are of
 * the model's vocabulary alone, added tokens need the normaliser, the template
 * needs all ids. */
g4_status g4_tokenizer_components(g4_tokenizer *t, const g4_json *root, g4_err *err)
{
    const char *version = "1.0";
    int fused = 0;
    g4_json j;
    G4_TRY(g4_json_opt_str(root, "version", &version, err));
    if (strcmp(version, "1.0") != 0) return unknown(root, "version", version, err);
    G4_TRY(padding(root, err));
    G4_TRY(g4_json_object(root, "model", 1, &j, err));
    G4_TRY(model(t, &j, err));
    G4_TRY(g4_json_object(root, "normalizer", 0, &j, err));
    if (j.root) G4_TRY(normalizer(t, &j, err));
    G4_TRY(g4_json_object(root, "pre_tokenizer", 0, &j, err));
    if (j.root) G4_TRY(pre_tokenizer(t, &j, err));
    G4_TRY(added_tokens(t, root, err));   /* some are matched normalised */
    G4_TRY(g4_json_object(root, "decoder", 0, &j, err));
    t->decode_spaced = !j.root;
    if (j.root) G4_TRY(decoder(t, &j, &fused, err));
    G4_TRY(g4_json_object(root, "post_processor", 0, &j, err));
    return j.root ? post_processor(t, &j, err) : G4_OK;
}
