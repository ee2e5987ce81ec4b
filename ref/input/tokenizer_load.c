/* SPDX-License-Identifier: Apache-2.0
 * tokenizer.json to a g4_tokenizer: the two big members by cursor
 * (tokenizer_json.c), the rest through jansson, component by component
 * (tokenizer_components.c).  Everything is checked here, so that encoding and
 * decoding can trust every id. */
#include "ref/base/arena.h"
#include "ref/base/map.h"
#include "ref/file/document.h"
#include "ref/input/tokenizer_load.h"

#include <stdlib.h>
#include <string.h>

/* The real file has 32 MB, of which 15 KB are outside vocab and merges.  Tables
 * take at most 10 times the file, jansson's values at most 40 times the rest. */
enum { MAX_FILE = 128 << 20, MAX_REST = 16 << 20, MAX_CONFIG = 16 << 20 };

/* The file without the two spans, a 0 in their place. */
static g4_status parse_rest(const char *file, const uint8_t *data, size_t size, g4_span vocab,
                            g4_span merges, g4_json *j, g4_err *err)
{
    g4_span first = vocab.at < merges.at ? vocab : merges;
    g4_span second = vocab.at < merges.at ? merges : vocab;
    g4_text rest = { 0 };
    g4_status s = g4_text_add(&rest, data, first.at, err);
    if (s == G4_OK) s = g4_text_add(&rest, "0", 1, err);
    if (s == G4_OK) s = g4_text_add(&rest, data + first.end, second.at - first.end, err);
    if (s == G4_OK) s = g4_text_add(&rest, "0", 1, err);
    if (s == G4_OK) s = g4_text_add(&rest, data + second.end, size - second.end, err);
    if (s == G4_OK) s = g4_json_parse(j, file, rest.data, rest.size, err);
    free(rest.data);
    return s;
}

/* parse_rest failed: once more with blanks where the spans were, for a message
 * whose line and byte are those of the file. */
static g4_status explain(const char *file, const uint8_t *data, size_t size, g4_span vocab,
                         g4_span merges, g4_json *j, g4_err *err)
{
    char *copy = malloc(size);
    if (!copy) return g4_nomem(err, file);
    memcpy(copy, data, size);
    g4_span spans[2] = { vocab, merges };
    for (int i = 0; i < 2; i++) {
        for (size_t at = spans[i].at; at < spans[i].end; at++)
            if (copy[at] != '\n') copy[at] = ' ';
        copy[spans[i].at] = '0';
    }
    g4_status s = g4_json_parse(j, file, copy, size, err);
    free(copy);
    return s;
}

/* vocab before merges, which name its tokens, whatever their order in the file. */
static g4_status load_model(g4_tokenizer *t, const char *file, const uint8_t *data, g4_span vocab,
                            g4_span merges, g4_err *err)
{
    g4_cursor c = { .file = file, .data = data, .at = vocab.at, .end = vocab.end };
    g4_status s = g4_tokenizer_vocab(t, &c, err);
    if (s == G4_OK) s = g4_vocab_seal(&t->vocab, file, err);
    if (s == G4_OK) {
        t->model_size = (int32_t)t->vocab.count;
        c.at = merges.at;
        c.end = merges.end;
        s = g4_tokenizer_merges(t, &c, err);
    }
    free(c.buf.data);
    return s;
}

static g4_status parse(g4_tokenizer *t, const char *file, const uint8_t *data, size_t size,
                       g4_err *err)
{
    g4_span vocab, merges;
    g4_json root;
    G4_TRY(g4_tokenizer_spans(file, data, size, &vocab, &merges, err));
    if (vocab.at == vocab.end || merges.at == merges.end)
        return g4_fail(err, G4_EINPUT, "%s: model.%s is missing", file,
                       vocab.at == vocab.end ? "vocab" : "merges");
    if (size - (vocab.end - vocab.at) - (merges.end - merges.at) > MAX_REST)
        return g4_fail(err, G4_EINPUT, "%s: more than %d bytes besides vocab and merges", file,
                       (int)MAX_REST);
    g4_status s = parse_rest(file, data, size, vocab, merges, &root, err);
    if (s == G4_EINPUT) s = explain(file, data, size, vocab, merges, &root, err);
    G4_TRY(s);
    s = load_model(t, file, data, vocab, merges, err);
    if (s == G4_OK) s = g4_tokenizer_components(t, &root, err);
    g4_json_free(&root);
    return s;
}

/* json NULL: file is a GGUF model's name. */
static g4_status make(g4_tokenizer **out, const char *file, const void *json, size_t size,
                      g4_err *err)
{
    *out = NULL;
    g4_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return g4_nomem(err, file);
    t->bos = t->unk = -1;
    g4_status s = json ? parse(t, file, json, size, err) : g4_tokenizer_from_gguf(t, file, err);
    if (s != G4_OK) {
        g4_tokenizer_free(t);
        return s;
    }
    *out = t;
    return G4_OK;
}

g4_status g4_tokenizer_parse(g4_tokenizer **t, const char *file, const void *json, size_t size,
                             g4_err *err)
{
    return make(t, file, json ? json : "", size, err);
}

void g4_tokenizer_free(g4_tokenizer *t)
{
    if (!t) return;
    g4_vocab_free(&t->vocab);
    g4_merges_free(&t->merges);
    for (size_t i = 0; i < t->added_count; i++) free(t->added[i].shown);
    free(t->added);
    free(t->added_of);
    g4_trie_free(&t->raw);
    g4_trie_free(&t->normal);
    g4_replaces *steps[2] = { &t->normalizer, &t->decoder };
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < steps[k]->count; i++) {
            free(steps[k]->step[i].pattern);
            free(steps[k]->step[i].content);
        }
    g4_ids_free(&t->before);
    g4_ids_free(&t->after);
    free(t);
}

/* bos_token_id of one object, if it has one. */
static g4_status bos_of(const g4_json *j, int32_t *bos, g4_err *err)
{
    int64_t id = -1;
    if (*bos >= 0) return G4_OK;
    G4_TRY(g4_json_opt_int(j, "bos_token_id", 0, INT32_MAX, &id, err));
    *bos = (int32_t)id;
    return G4_OK;
}

/* config.json: the BOS id, and the vocabulary that every id must lie in. */
static g4_status read_config(const g4_tokenizer *t, const g4_json *j, int32_t *bos, g4_err *err)
{
    g4_json text;
    int64_t vocab = INT32_MAX;
    G4_TRY(g4_json_object(j, "text_config", 0, &text, err));
    const g4_json *in = text.root ? &text : j;
    G4_TRY(g4_json_opt_int(in, "vocab_size", 1, INT32_MAX, &vocab, err));
    if (g4_tokenizer_size(t) > vocab) {
        size_t len;
        const char *token = g4_tokenizer_text(t, (int32_t)vocab, &len);
        return g4_fail(err, G4_EINPUT, "%s: vocab_size is %lld, but tokenizer.json has token "
                       "\"%.*s\" with id %lld", j->file, (long long)vocab, g4_shown(token, len),
                       token, (long long)vocab);
    }
    G4_TRY(bos_of(in, bos, err));
    return bos_of(j, bos, err);
}

/* tokenizer_config.json: "bos_token" is a text, or an object with one. */
static g4_status read_tokenizer_config(const g4_tokenizer *t, const g4_json *j, int32_t *bos,
                                       g4_err *err)
{
    const char *token = NULL;
    json_t *v = json_object_get(j->root, "bos_token");
    g4_json in = { .root = json_is_object(v) ? v : j->root, .file = j->file };
    G4_TRY(g4_json_opt_str(&in, in.root == v ? "content" : "bos_token", &token, err));
    if (!token) return G4_OK;
    *bos = g4_tokenizer_id(t, token);
    if (*bos >= 0) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: bos_token \"%.*s\" is no token of tokenizer.json", j->file,
                   g4_shown(token, strlen(token)), token);
}

enum { CONFIG, GENERATION, TOKENIZER, FILES };

/* One of the files beside tokenizer.json; that it is not there is no fault. */
static g4_status read_beside(g4_tokenizer *t, const char *path, int which, int32_t *bos,
                             g4_err *err)
{
    g4_json j;
    if (g4_path_kind(path) == 0 || (which != CONFIG && *bos >= 0)) return G4_OK;
    G4_TRY(g4_json_load(&j, path, MAX_CONFIG, err));
    g4_status s = which == CONFIG ? read_config(t, &j, bos, err)
                  : which == GENERATION ? bos_of(&j, bos, err)
                  : read_tokenizer_config(t, &j, bos, err);
    if (s == G4_OK && *bos >= g4_tokenizer_size(t))
        s = g4_fail(err, G4_EINPUT, "%s: bos_token_id %d is no token of tokenizer.json", path,
                    (int)*bos);
    g4_json_free(&j);
    return s;
}

/* tokenizer.json, then the three files beside it. */
static g4_status load(g4_tokenizer **t, const char *dir, g4_arena *a, g4_err *err)
{
    static const char *const names[FILES] = { [CONFIG] = "config.json",
                                              [GENERATION] = "generation_config.json",
                                              [TOKENIZER] = "tokenizer_config.json" };
    if (g4_path_kind(dir) != 2)
        return g4_fail(err, G4_EINPUT, "%s: not a model folder", dir);
    const char *path = g4_arena_printf(a, "%s/tokenizer.json", dir);
    if (!path) return g4_nomem(err, dir);
    uint8_t *data;
    size_t size;
    int32_t bos = -1;
    G4_TRY(g4_file_read(path, MAX_FILE, &data, &size, err));
    g4_status s = g4_tokenizer_parse(t, path, data, size, err);
    free(data);
    for (int i = 0; i < FILES && s == G4_OK; i++) {
        path = g4_arena_printf(a, "%s/%s", dir, names[i]);
        s = path ? read_beside(*t, path, i, &bos, err) : g4_nomem(err, dir);
    }
    if (s == G4_OK && bos >= 0) (*t)->bos = bos;
    return s;
}

g4_status g4_tokenizer_load(g4_tokenizer **t, const char *dir, g4_err *err)
{
    g4_arena a = { 0 };
    *t = NULL;
    if (g4_gguf_named(dir)) return make(t, dir, NULL, 0, err);
    g4_status s = load(t, dir, &a, err);
    g4_arena_free(&a);
    if (s != G4_OK) {
        g4_tokenizer_free(*t);
        *t = NULL;
    }
    return s;
}
