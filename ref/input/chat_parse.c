/* SPDX-License-Identifier: Apache-2.0
 * The model's answer -> thinking, text, calls of tools.  A scanner over the
 * special tokens; what does not follow the syntax of chat.h is listed with its
 * offset and left out.  Values become JSON; a number must be one of JSON's. */
#include "ref/base/json.h"
#include "ref/input/chat_impl.h"
#include "ref/input/utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

#define QUOTE "<|\"|>"

typedef struct scan {
    const char *text;
    size_t len, at;
    const char *wrong;        /* what the call being read is wrong in; NULL: nothing yet */
    size_t wrong_at;
    int failed;               /* an allocation failed */
    chat_buf thinking, plain;
    g4_answer *answer;
} scan;

static int looking_at(const scan *s, const char *what)
{
    size_t n = strlen(what);
    return n <= s->len - s->at && !memcmp(s->text + s->at, what, n);
}

static int take(scan *s, const char *what)
{
    if (!looking_at(s, what)) return 0;
    s->at += strlen(what);
    return 1;
}

/* Offset of what at or behind s->at; len: not there. */
static size_t find(const scan *s, const char *what)
{
    const char *p = memmem(s->text + s->at, s->len - s->at, what, strlen(what));
    return p ? (size_t)(p - s->text) : s->len;
}

static void blanks(scan *s)
{
    while (s->at < s->len && s->text[s->at] && strchr(" \t\r\n", s->text[s->at])) s->at++;
}

static void report(scan *s, size_t offset, const char *what)
{
    g4_answer *a = s->answer;
    g4_answer_error *p = NULL;
    if (a->error_count < SIZE_MAX / sizeof *p / 2)
        p = a->error_count & (a->error_count + 1) ? a->errors :   /* grows at 2^k - 1 */
            realloc(a->errors, (2 * a->error_count + 1) * sizeof *p);
    if (!p) {
        s->failed = 1;
        return;
    }
    a->errors = p;
    a->errors[a->error_count++] = (g4_answer_error){ offset, what };
}

/* Remembers the first fault of a call; returns NULL for the caller to return. */
static json_t *bad(scan *s, const char *what)
{
    if (!s->wrong) {
        s->wrong = what;
        s->wrong_at = s->at;
    }
    return NULL;
}

static json_t *made(scan *s, json_t *v)
{
    if (!v) s->failed = 1;
    return v;
}

static json_t *read_value(scan *s, int depth);

static json_t *read_string(scan *s)
{
    size_t from = s->at, end = find(s, QUOTE);
    if (end == s->len) return bad(s, "string is not closed");
    s->at = end + strlen(QUOTE);
    return made(s, json_stringn(s->text + from, end - from));
}

/* JSON's grammar: -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static json_t *read_number(scan *s)
{
    char num[64];
    size_t from = s->at, digits;
    int real = 0;
    take(s, "-");
    size_t first = s->at;
    while (s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9') s->at++;
    int ok = s->at > first && (s->text[first] != '0' || s->at == first + 1);
    if (take(s, ".")) {
        for (digits = s->at; s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9';)
            s->at++;
        ok &= s->at > digits;
        real = 1;
    }
    if (take(s, "e") || take(s, "E")) {
        if (!take(s, "+")) take(s, "-");
        for (digits = s->at; s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9';)
            s->at++;
        ok &= s->at > digits;
        real = 1;
    }
    size_t n = s->at - from;
    if (!ok || n >= sizeof num) {
        s->at = from;
        return bad(s, ok ? "number is too long" : "not a value");
    }
    memcpy(num, s->text + from, n);
    num[n] = 0;
    errno = 0;
    double d = real ? strtod(num, NULL) : 0;
    long long i = real ? 0 : strtoll(num, NULL, 10);
    if (errno == ERANGE && (!real || d > 1 || d < -1)) {
        s->at = from;
        return bad(s, "number is out of range");
    }
    return made(s, real ? json_real(d) : json_integer(i));
}

static json_t *read_list(scan *s, int depth)
{
    json_t *list = made(s, json_array());
    blanks(s);
    if (!list || take(s, "]")) return list;
    for (;;) {
        json_t *v = read_value(s, depth);
        if (!v || json_array_append_new(list, v) != 0) {
            if (v) s->failed = 1;
            break;
        }
        blanks(s);
        if (take(s, "]")) return list;
        if (!take(s, ",")) {
            bad(s, "expected , or ] in a list");
            break;
        }
    }
    json_decref(list);
    return NULL;
}

/* A key, up to its colon: bare or quoted.  *key is malloc'ed; 0: none. */
static int read_key(scan *s, char **key)
{
    blanks(s);
    int quoted = take(s, QUOTE);
    size_t from = s->at, end = quoted ? find(s, QUOTE) : from;
    while (!quoted && end < s->len && s->text[end] && !strchr(":,{}[]<\n", s->text[end])) end++;
    if (end == s->len || (!quoted && (end == from || s->text[end] != ':')) ||
        memchr(s->text + from, 0, end - from)) {
        bad(s, "expected a key and :");
        return 0;
    }
    s->at = quoted ? end + strlen(QUOTE) : end;
    if (quoted) blanks(s);
    if (!take(s, ":")) {
        bad(s, "expected : behind a key");
        return 0;
    }
    *key = strndup(s->text + from, end - from);
    if (!*key) s->failed = 1;
    return *key != NULL;
}

/* Behind the opening brace. */
static json_t *read_object(scan *s, int depth)
{
    json_t *object = made(s, json_object());
    blanks(s);
    if (!object || take(s, "}")) return object;
    for (;;) {
        char *key;
        size_t key_at = s->at;
        if (!read_key(s, &key)) break;
        int twice = json_object_get(object, key) != NULL;
        json_t *v = twice ? NULL : read_value(s, depth);
        if (twice) {
            s->at = key_at;
            bad(s, "key given twice");
        }
        int ok = v && json_object_set_new(object, key, v) == 0;
        if (v && !ok) s->failed = 1;
        free(key);
        if (!ok) break;
        blanks(s);
        if (take(s, "}")) return object;
        if (!take(s, ",")) {
            bad(s, "expected , or } behind a value");
            break;
        }
    }
    json_decref(object);
    return NULL;
}

static json_t *read_value(scan *s, int depth)
{
    static const struct { const char *word; int type; } words[] = {
        { "true", JSON_TRUE }, { "false", JSON_FALSE }, { "null", JSON_NULL },
        { "None", JSON_NULL },
    };
    blanks(s);
    if (depth >= MAX_DEPTH) return bad(s, "nested too deep");
    if (take(s, QUOTE)) return read_string(s);
    if (take(s, "{")) return read_object(s, depth + 1);
    if (take(s, "[")) return read_list(s, depth + 1);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (take(s, words[i].word))   /* what follows must be , or a bracket: callers look */
            return made(s, words[i].type == JSON_NULL ? json_null() :
                           json_boolean(words[i].type == JSON_TRUE));
    return read_number(s);
}

/* name: what the template could have printed between "call:" and the brace. */
static size_t name_end(const scan *s)
{
    size_t end = s->at;
    while (end < s->len && (unsigned char)s->text[end] > ' ' &&
           !strchr("{}[]()<>,\"", s->text[end]))
        end++;
    return end;
}

/* Behind "<|tool_call>", up to and with "<tool_call|>"; NULL: malformed. */
static json_t *read_call(scan *s)
{
    if (!take(s, "call:")) return bad(s, "expected call: and the name of a tool");
    size_t from = s->at, end = name_end(s);
    s->at = end;
    if (end == from) return bad(s, "a call without a name");
    if (!take(s, "{")) return bad(s, "expected { behind the name of a tool");
    json_t *arguments = read_object(s, 0);
    if (!arguments) return NULL;
    if (!take(s, "<tool_call|>")) {
        json_decref(arguments);
        return bad(s, "expected <tool_call|> behind the arguments");
    }
    json_t *name = made(s, json_stringn(s->text + from, end - from));
    json_t *call = name ? made(s, json_object()) : NULL;
    /* Sets in this order even where one fails: each takes over its value. */
    if (!call || json_object_set(call, "name", name) != 0 ||
        json_object_set(call, "arguments", arguments) != 0) {
        s->failed = 1;
        json_decref(call);
        call = NULL;
    }
    json_decref(name);
    json_decref(arguments);
    return call;
}

static void tool_call(scan *s)
{
    size_t from = s->at;
    s->wrong = NULL;
    take(s, "<|tool_call>");
    json_t *call = read_call(s);
    if (call) {
        if (json_array_append_new(s->answer->tool_calls, call) != 0) s->failed = 1;
        return;
    }
    if (s->failed) return;
    report(s, s->wrong_at, s->wrong);
    s->at = from;   /* go on behind its end, or what is left of the answer is lost */
    s->at = find(s, "<tool_call|>");
    if (s->at < s->len) take(s, "<tool_call|>");
}

/* Behind "<|channel>thought\n": everything up to "<channel|>" or the end. */
static void thought(scan *s)
{
    size_t end = find(s, "<channel|>"), n = end - s->at;
    if (end == s->len) report(s, s->at, "thought channel is not closed");
    if (n && s->text[end - 1] == '\n') n--;   /* the template's, not the thought's */
    if (n && s->thinking.len) chat_puts(&s->thinking, "\n");
    chat_put(&s->thinking, s->text + s->at, n);
    s->at = end;
    take(s, "<channel|>");
}

static void channel(scan *s)
{
    size_t from = s->at;
    if (take(s, "<|channel>thought\n") || take(s, "<|channel>thought<channel|>")) {
        if (s->text[s->at - 1] == '\n') thought(s);
        return;
    }
    report(s, from, "a channel that is not \"thought\"");
    s->at = find(s, "<channel|>");
    take(s, "<channel|>");
}

/* Plain text up to the next '<', and a '<' that opens nothing we know. */
static void plain(scan *s)
{
    const char *p = memchr(s->text + s->at + 1, '<', s->len - s->at - 1);
    size_t end = p ? (size_t)(p - s->text) : s->len;
    chat_put(&s->plain, s->text + s->at, end - s->at);
    s->at = end;
}

static void answer(scan *s, int in_thought)
{
    take(s, "<|turn>model\n");
    if (in_thought) thought(s);
    while (s->at < s->len && !s->failed) {
        if (looking_at(s, "<|channel>")) {
            channel(s);
        } else if (looking_at(s, "<|tool_call>")) {
            tool_call(s);
        } else if (looking_at(s, "<channel|>") || looking_at(s, "<tool_call|>")) {
            report(s, s->at, "an end without its beginning");
            if (!take(s, "<channel|>")) take(s, "<tool_call|>");
        } else if (take(s, "<turn|>") || take(s, "<|tool_response>") || take(s, "<eos>")) {
            blanks(s);
            if (s->at < s->len) report(s, s->at, "text behind the end of the answer");
            return;
        } else {
            plain(s);
        }
    }
}

g4_status g4_answer_parse(g4_answer *a, const char *text, size_t len, int in_thought, g4_err *err)
{
    *a = (g4_answer){ 0 };
    scan s = { .text = text, .len = len, .answer = a };
    size_t bad_at = g4_utf8_check(text, len);
    if (bad_at < len)
        return g4_fail(err, G4_EINPUT, "the answer is not UTF-8 at byte %zu", bad_at);
    a->tool_calls = json_array();
    chat_put(&s.thinking, "", 0);
    chat_put(&s.plain, "", 0);
    if (a->tool_calls) answer(&s, in_thought);
    a->thinking = s.thinking.data;
    a->text = s.plain.data;
    a->thinking_len = s.thinking.len;
    a->text_len = s.plain.len;
    if (!a->tool_calls || s.failed || s.thinking.failed || s.plain.failed) {
        g4_answer_free(a);
        return g4_nomem(err, "answer");
    }
    return G4_OK;
}

void g4_answer_free(g4_answer *a)
{
    free(a->thinking);
    free(a->text);
    free(a->errors);
    json_decref(a->tool_calls);
    *a = (g4_answer){ 0 };
}
