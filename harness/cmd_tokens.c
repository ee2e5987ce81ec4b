/* SPDX-License-Identifier: Apache-2.0
 * gemma4 tokens: text to ids, and the ids back to text.  Without --bos it
 * follows tokenizer.json's post-processor, so that it can be compared with the
 * tokenizers library; with --bos the rule of ref/input/tokenizer.h holds.
 * --no-special: no template around the ids, special tokens left out of the
 * decoded text. */
#include "harness/request.h"
#include "ref/input/chat.h"
#include "ref/input/tokenizer.h"
#include "ref/input/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    g4_tokenizer *t;
    const char *name;      /* where the text is from, for messages */
    char *text;            /* malloc'ed */
    size_t len;
    g4_ids ids;
    char *decoded;         /* malloc'ed */
    size_t decoded_len;
} job;

/* The conversation as the template writes it; --bos has its say afterwards. */
static g4_status render_chat(job *j, const g4_options *o, g4_err *err)
{
    g4_chat_options opt = g4_chat_defaults();
    g4_chat_text text = { 0 };
    g4_chat *chat = NULL;
    j->name = strcmp(o->chat, "-") == 0 ? "standard input" : o->chat;
    if (o->thinking >= 0) opt.thinking = o->thinking;
    G4_TRY(g4_chat_detect_dir(&opt, o->model, err));
    g4_status s = g4_chat_open(&chat, o->chat, o->tools, err);
    if (s == G4_OK) s = g4_chat_render(chat, &opt, &text, err);
    free(j->text);
    j->text = NULL;
    j->len = 0;
    if (s == G4_OK) {
        j->text = text.text;
        j->len = text.len;
        text.text = NULL;
    }
    g4_chat_text_free(&text);
    g4_chat_free(chat);
    return s;
}

/* Checked here, so that the message says where the text came from. */
static g4_status get_text(job *j, const g4_options *o, g4_err *err)
{
    if (o->chat) {
        G4_TRY(render_chat(j, o, err));
    } else if (o->text) {
        j->name = "--text";
        j->text = strdup(o->text);
        if (!j->text) return g4_nomem(err, j->name);
        j->len = strlen(o->text);
    } else {
        j->name = "standard input";
        G4_TRY(g4_stdin_read(&j->text, &j->len, err));
    }
    size_t at = g4_utf8_check(j->text, j->len);
    if (at < j->len) return g4_fail(err, G4_EINPUT, "%s: not UTF-8 at byte %zu", j->name, at);
    return G4_OK;
}

/* A chat template writes <bos> itself, and the library's chat encoding adds none. */
static g4_status encode(job *j, const g4_options *o, g4_err *err)
{
    g4_bos bos;
    G4_TRY(g4_bos_parse(&bos, o->bos, err));
    if (bos != G4_BOS_FILE && o->no_special)
        return g4_fail(err, G4_EINPUT, "--no-special and --bos exclude each other");
    if (bos != G4_BOS_FILE)
        return g4_tokenizer_encode_bos(j->t, j->text, j->len, bos, &j->ids, err);
    return g4_tokenizer_encode(j->t, j->text, j->len, !o->no_special && !o->chat, &j->ids, err);
}

/* jansson escapes what JSON cannot hold, NUL among it. */
static g4_status print_json(const job *j, g4_err *err)
{
    json_t *root = json_object(), *ids = json_array();
    int bad = !root || !ids;
    for (size_t i = 0; i < j->ids.count && !bad; i++)
        bad = json_array_append_new(ids, json_integer(j->ids.ids[i])) != 0;
    bad = json_object_set_new(root, "ids", ids) != 0 || bad;
    bad = json_object_set_new(root, "text", json_stringn(j->decoded, j->decoded_len)) != 0 || bad;
    g4_status s = bad ? g4_nomem(err, "JSON") : G4_OK;
    if (!bad && (json_dumpf(root, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF))
        s = g4_fail(err, G4_EIO, "standard output: cannot write");
    json_decref(root);
    return s;
}

/* One token a line: id, its text as a JSON string (control bytes escaped). */
static g4_status print_lines(const job *j, g4_err *err)
{
    for (size_t i = 0; i < j->ids.count; i++) {
        size_t len;
        const char *text = g4_tokenizer_text(j->t, j->ids.ids[i], &len);
        json_t *v = json_stringn(text, len);
        char *line = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
        json_decref(v);
        if (!line) return g4_nomem(err, "text");
        int bad = printf("%7d  %s\n", (int)j->ids.ids[i], line) < 0;
        free(line);
        if (bad) return g4_fail(err, G4_EIO, "standard output: cannot write");
    }
    if (printf("%zu tokens\n", j->ids.count) < 0)
        return g4_fail(err, G4_EIO, "standard output: cannot write");
    return G4_OK;
}

static g4_status work(job *j, const g4_options *o, g4_err *err)
{
    if (o->chat && o->text)
        return g4_fail(err, G4_EINPUT, "--text and --chat exclude each other");
    G4_TRY(g4_tokenizer_load(&j->t, o->model, err));
    G4_TRY(get_text(j, o, err));
    G4_TRY(encode(j, o, err));
    G4_TRY(g4_tokenizer_decode(j->t, j->ids.ids, j->ids.count, o->no_special, &j->decoded,
                               &j->decoded_len, err));
    return o->json ? print_json(j, err) : print_lines(j, err);
}

int cmd_tokens(const g4_options *o, g4_err *err)
{
    job j = { 0 };
    g4_status s = work(&j, o, err);
    g4_tokenizer_free(j.t);
    g4_ids_free(&j.ids);
    free(j.text);
    free(j.decoded);
    return s == G4_OK ? 0 : 2;
}
