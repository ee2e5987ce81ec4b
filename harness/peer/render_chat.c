/* SPDX-License-Identifier: Apache-2.0
 * Renders conversations for golden/check_chat.py, which compiles this file: one
 * JSON object a line on stdin, one on stdout.
 *   in   {"messages", "tools", "edition": 0 ... 3, "thinking", "generation_prompt",
 *         "empty_thought", "preserve_thinking"}
 *   out  {"text", "media": [[kind, offset, path], ...], "stray"} or {"error"}
 *   in   {"template": text}           out  {"edition", "empty_thought"} or {"error"}
 *   in   {"answer": text, "in_thought"}   out  {"thinking", "text", "tool_calls", "errors"}
 * Not part of the program: the byte-exact text is not to be had from its commands. */
#include "ref/base/json.h"
#include "ref/input/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const json_t *j, const char *key, int absent)
{
    json_t *v = json_object_get(j, key);
    return json_is_integer(v) ? (int)json_integer_value(v) : v ? json_is_true(v) : absent;
}

static json_t *render(json_t *in)
{
    g4_err err;
    g4_chat *chat;
    g4_chat_text t;
    g4_chat_options o = g4_chat_defaults();
    o.edition = (g4_chat_edition)number(in, "edition", 0);
    o.thinking = number(in, "thinking", -1);
    o.add_generation_prompt = number(in, "generation_prompt", 1);
    o.empty_thought = number(in, "empty_thought", 1);
    o.preserve_thinking = number(in, "preserve_thinking", 0);
    char *doc = json_dumps(in, JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!doc) return NULL;
    g4_status s = g4_chat_parse(&chat, "case.json", doc, strlen(doc), &err);
    free(doc);
    if (s == G4_OK) {
        s = g4_chat_render(chat, &o, &t, &err);
        g4_chat_free(chat);
    }
    if (s != G4_OK) return json_pack("{s:s}", "error", err.msg);
    json_t *media = json_array();
    for (size_t i = 0; i < t.media_count; i++)
        json_array_append_new(media, json_pack("[i,I,s?]", t.media[i].kind,
                                               (json_int_t)t.media[i].offset, t.media[i].path));
    json_t *out = json_pack("{s:s%,s:o,s:I}", "text", t.text, t.len, "media", media, "stray",
                            (json_int_t)t.stray);
    g4_chat_text_free(&t);
    return out;
}

static json_t *detect(json_t *text)
{
    g4_err err;
    g4_chat_options o = g4_chat_defaults();
    if (g4_chat_detect(&o, "template", json_string_value(text), json_string_length(text),
                       &err) != G4_OK)
        return json_pack("{s:s}", "error", err.msg);
    return json_pack("{s:i,s:i}", "edition", (int)o.edition, "empty_thought", o.empty_thought);
}

static json_t *answer(json_t *in)
{
    g4_err err;
    g4_answer a;
    json_t *text = json_object_get(in, "answer");
    if (g4_answer_parse(&a, json_string_value(text), json_string_length(text),
                        number(in, "in_thought", 0), &err) != G4_OK)
        return json_pack("{s:s}", "error", err.msg);
    json_t *errors = json_array();
    for (size_t i = 0; i < a.error_count; i++)
        json_array_append_new(errors, json_pack("[I,s]", (json_int_t)a.errors[i].offset,
                                                a.errors[i].what));
    json_t *out = json_pack("{s:s%,s:s%,s:O,s:o}", "thinking", a.thinking, a.thinking_len,
                            "text", a.text, a.text_len, "tool_calls", a.tool_calls,
                            "errors", errors);
    g4_answer_free(&a);
    return out;
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    while ((n = getline(&line, &size, stdin)) > 0) {
        g4_err err = { G4_OK, "" };
        g4_json j;
        json_t *out;
        if (g4_json_parse(&j, "case.json", line, (size_t)n, &err) != G4_OK) {
            out = json_pack("{s:s}", "error", err.msg);
        } else {
            json_t *text = json_object_get(j.root, "template");
            out = text ? detect(text) :
                  json_object_get(j.root, "answer") ? answer(j.root) : render(j.root);
            g4_json_free(&j);
        }
        if (!out || json_dumpf(out, stdout, JSON_COMPACT) != 0) return 1;
        puts("");
        json_decref(out);
    }
    free(line);
    return 0;
}
