/* SPDX-License-Identifier: Apache-2.0
 * The template's main part: turns, thinking, calls and results, media, the
 * generation prompt.  Steps are in the template's order; where the editions
 * differ, the line asks for the edition.  Called with a checked conversation. */
#include "ref/input/chat_impl.h"
#include "ref/input/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the message before left behind (the template's prev_message_type). */
typedef enum last_thing { LAST_OTHER, LAST_CALL, LAST_RESPONSE } last_thing;

typedef struct turn {
    json_t *message;
    size_t index;             /* among the messages after the system turn */
    int is_model;             /* assistant or model */
    last_thing last;
    int responses;            /* results of tools were written */
    int has_content;
} turn;

static const char *role_of(const json_t *message)
{
    return json_string_value(json_object_get(message, "role"));
}

static int is_role(const json_t *message, const char *role)
{
    return message && !strcmp(role_of(message), role);
}

static json_t *call_name(const json_t *call)
{
    return json_object_get(json_object_get(call, "function"), "name");
}

/* A placeholder, and the media that belongs to it. */
static g4_status put_media(chat_ctx *c, const json_t *part, int kind)
{
    const char *text = kind == G4_IMAGE ? "<|image|>" :
                       kind == G4_AUDIO ? "<|audio|>" : "<|video|>";
    if (c->media_count == c->media_capacity) {
        size_t want = c->media_capacity * 2 + 8;   /* far below overflow: parts of one file */
        g4_chat_media *p = realloc(c->media, want * sizeof *p);
        if (!p) return g4_nomem(c->err, c->file);
        c->media = p;
        c->media_capacity = want;
    }
    g4_chat_media *m = &c->media[c->media_count];
    *m = (g4_chat_media){ .kind = kind, .offset = c->out.len, .len = strlen(text) };
    G4_TRY(chat_media_path(c->chat, part, c->where, &m->path, c->err));
    c->media_count++;
    chat_puts(&c->out, text);
    return G4_OK;
}

static void put_stripped(chat_ctx *c, const char *s, size_t n)
{
    chat_strip(&s, &n);
    chat_put(&c->out, s, n);
}

/* strip_thinking: text up to "<|channel>" in each piece that "<channel|>" ends. */
static g4_status put_without_thinking(chat_ctx *c, const char *s)
{
    chat_buf b = { NULL, 0, 0, 0 };
    for (;;) {
        const char *end = strstr(s, "<channel|>");
        size_t n = end ? (size_t)(end - s) : strlen(s);
        const char *open = memmem(s, n, "<|channel>", 10);
        chat_put(&b, s, open ? (size_t)(open - s) : n);
        if (!end) break;
        s = end + 10;
    }
    if (!b.failed) put_stripped(c, b.data, b.len);
    int failed = b.failed;
    free(b.data);
    return failed ? g4_nomem(c->err, c->file) : G4_OK;
}

static g4_status put_text(chat_ctx *c, const json_t *text, int is_model)
{
    if (is_model) return put_without_thinking(c, json_string_value(text));
    put_stripped(c, json_string_value(text), json_string_length(text));
    return G4_OK;
}

static g4_status put_content(chat_ctx *c, turn *t)
{
    json_t *content = json_object_get(t->message, "content"), *part;
    size_t i, from = c->out.len;
    if (json_is_string(content)) G4_TRY(put_text(c, content, t->is_model));
    if (json_is_array(content)) json_array_foreach(content, i, part) {
        int kind = chat_media_kind(json_string_value(json_object_get(part, "type")));
        if (!kind) {
            G4_TRY(put_text(c, json_object_get(part, "text"), t->is_model));
            continue;
        }
        G4_TRY(put_media(c, part, kind));
        if (c->o->edition < G4_CHAT_JULY) t->last = LAST_OTHER;
    }
    if (c->o->edition == G4_CHAT_APRIL) {
        t->has_content = chat_truthy(content);
    } else if (!c->out.failed) {
        const char *s = c->out.data + from;
        size_t n = c->out.len - from;
        chat_strip(&s, &n);
        t->has_content = n > 0;
    }
    return G4_OK;
}

/* Arguments given as a JSON text: the earlier editions print it as it is, July
 * asks for it to be read first. */
static g4_status put_argument_text(chat_ctx *c, const json_t *text)
{
    g4_json j;
    char name[CHAT_WHERE + 300];
    if (c->o->edition < G4_CHAT_JULY) {
        chat_str(&c->out, text);
        return G4_OK;
    }
    snprintf(name, sizeof name, "%.250s: %s.arguments", c->file, c->where);
    G4_TRY(g4_json_parse(&j, name, json_string_value(text), json_string_length(text), c->err));
    g4_status s = json_is_object(j.root) ? chat_members(c, j.root) :
                  g4_fail(c->err, G4_EINPUT, "%s: not a JSON object", name);
    g4_json_free(&j);
    return s;
}

static g4_status put_calls(chat_ctx *c, turn *t, size_t message_index)
{
    json_t *calls = json_object_get(t->message, "tool_calls"), *call;
    size_t i;
    json_array_foreach(calls, i, call) {
        json_t *arguments = json_object_get(json_object_get(call, "function"), "arguments");
        snprintf(c->where, sizeof c->where, "messages[%zu].tool_calls[%zu].function",
                 message_index, i);
        chat_puts(&c->out, "<|tool_call>call:");
        chat_str(&c->out, call_name(call));
        chat_puts(&c->out, "{");
        if (json_is_object(arguments)) G4_TRY(chat_members(c, arguments));
        else if (json_is_string(arguments)) G4_TRY(put_argument_text(c, arguments));
        else if (!arguments && c->o->edition >= G4_CHAT_JULY)
            return g4_fail(c->err, G4_EINPUT, "%s: %s.arguments is missing", c->file, c->where);
        chat_puts(&c->out, "}<tool_call|>");
        t->last = LAST_CALL;
    }
    return G4_OK;
}

/* The function a result belongs to: by its id (none equals none), else by its own name. */
static const char *result_name(const json_t *calls, const json_t *result)
{
    const char *id = json_string_value(json_object_get(result, "tool_call_id"));
    const char *name = json_string_value(json_object_get(result, "name"));
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call) {
        const char *other = json_string_value(json_object_get(call, "id"));
        if (id && other ? !strcmp(id, other) : !id && !other)
            name = json_string_value(call_name(call));
    }
    return name;
}

/* A result given as parts: its texts joined, its media behind it (dropped before May). */
static g4_status put_result_parts(chat_ctx *c, const char *name, const json_t *parts)
{
    chat_buf b = { NULL, 0, 0, 0 };
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!chat_media_kind(type)) chat_str(&b, json_object_get(part, "text"));
    }
    json_t *joined = b.failed ? NULL : json_stringn(b.data ? b.data : "", b.len);
    free(b.data);
    if (!joined) return g4_nomem(c->err, c->file);
    g4_status s = chat_tool_response(c, name, joined);
    json_decref(joined);
    G4_TRY(s);
    json_array_foreach(parts, i, part) {
        int kind = chat_media_kind(json_string_value(json_object_get(part, "type")));
        if (kind && c->o->edition < G4_CHAT_MAY)
            return g4_fail(c->err, G4_EINPUT,
                           "%s: %s.content[%zu]: this edition of the template drops media in a "
                           "tool's result", c->file, c->where, i);
        if (kind) G4_TRY(put_media(c, part, kind));
    }
    return G4_OK;
}

/* One message of role tool behind the calls it answers. */
static g4_status put_result(chat_ctx *c, const turn *t, const json_t *result, size_t message_index)
{
    const char *name = result_name(json_object_get(t->message, "tool_calls"), result);
    json_t *content = json_object_get(result, "content");
    int july = c->o->edition >= G4_CHAT_JULY;
    snprintf(c->where, sizeof c->where, "messages[%zu]", message_index);
    if (july && (!name || !*name)) name = "unknown";
    if (!name)
        return g4_fail(c->err, G4_EINPUT,
                       "%s: %s: its tool_call_id is none of the calls before it, and it has no "
                       "name", c->file, c->where);
    /* The template takes an object's keys for parts, and fails. */
    if (json_is_object(content))
        return g4_fail(c->err, G4_EINPUT, "%s: %s.content is an object, expected a string or an "
                       "array of parts (tool_responses take objects)", c->file, c->where);
    if (json_is_array(content)) return put_result_parts(c, name, content);
    return chat_tool_response(c, name, content);
}

static g4_status put_results(chat_ctx *c, turn *t, size_t skipped)
{
    json_t *given = json_object_get(t->message, "tool_responses"), *entry;
    size_t i, n = json_array_size(c->chat->messages);
    if (chat_truthy(given)) {
        json_array_foreach(given, i, entry) {
            json_t *name = json_object_get(entry, "name");
            const char *s = json_string_value(name);
            if (name && !s && c->o->edition < G4_CHAT_JULY)
                return g4_fail(c->err, G4_EINPUT, "%s: messages[%zu].tool_responses[%zu].name is "
                               "null", c->file, t->index + skipped, i);
            if (!s || (!*s && c->o->edition >= G4_CHAT_JULY)) s = "unknown";
            G4_TRY(chat_tool_response(c, s, json_object_get(entry, "response")));
            t->responses = 1;
        }
    } else if (chat_truthy(json_object_get(t->message, "tool_calls"))) {
        for (i = t->index + skipped + 1; i < n; i++) {
            json_t *next = json_array_get(c->chat->messages, i);
            if (!is_role(next, "tool")) break;
            G4_TRY(put_result(c, t, next, i));
            t->responses = 1;
        }
    }
    if (t->responses) t->last = LAST_RESPONSE;
    return G4_OK;
}

static void put_thinking(chat_ctx *c, const turn *t, int after_last_user)
{
    json_t *thought = json_object_get(t->message, "reasoning");
    int calls = chat_truthy(json_object_get(t->message, "tool_calls"));
    int gate = c->o->edition < G4_CHAT_JULY ? after_last_user && calls :
               after_last_user || (c->o->preserve_thinking && calls);
    if (!chat_truthy(thought)) thought = json_object_get(t->message, "reasoning_content");
    if (!chat_truthy(thought) || !gate) return;
    chat_puts(&c->out, "<|channel>thought\n");
    chat_str(&c->out, thought);
    chat_puts(&c->out, "\n<channel|>");
}

/* What ends the message: the turn, the wait for a result, or nothing where the
 * model's turn goes on in a later message. */
static void put_end(chat_ctx *c, const turn *t, size_t skipped)
{
    json_t *next = NULL;
    size_t n = json_array_size(c->chat->messages);
    int july = c->o->edition >= G4_CHAT_JULY;
    for (size_t i = t->index + skipped + 1; i < n && !next; i++) {
        next = json_array_get(c->chat->messages, i);
        if (is_role(next, "tool")) next = NULL;
    }
    int calls = chat_truthy(json_object_get(t->message, "tool_calls"));
    if (t->last == LAST_CALL && !t->responses) {
        chat_puts(&c->out, "<|tool_response>");
    } else if (july && t->is_model && is_role(next, "assistant") && (!calls || t->responses)) {
        return;
    } else if (!(t->responses && !t->has_content && !(july && next))) {
        chat_puts(&c->out, "<turn|>\n");
    }
}

/* The system turn: think token, system text, tools.  *skipped: messages it took. */
static g4_status put_system(chat_ctx *c, size_t *skipped)
{
    json_t *first = json_array_get(c->chat->messages, 0), *tool, *part;
    size_t i;
    int system = is_role(first, "system") || is_role(first, "developer");
    *skipped = (size_t)system;
    if (c->o->thinking != 1 && !chat_truthy(c->chat->tools) && !system) return G4_OK;
    chat_puts(&c->out, "<|turn>system\n");
    if (c->o->thinking == 1) chat_puts(&c->out, "<|think|>\n");
    json_t *content = json_object_get(first, "content");
    if (system && json_is_string(content)) G4_TRY(put_text(c, content, 0));
    if (system && json_is_array(content)) {
        json_array_foreach(content, i, part)
            if (chat_media_kind(json_string_value(json_object_get(part, "type"))))
                return g4_fail(c->err, G4_EINPUT,
                               "%s: messages[0].content[%zu]: no media in the system turn",
                               c->file, i);
        if (c->o->edition == G4_CHAT_APRIL) chat_str(&c->out, content);   /* Python's repr */
        else json_array_foreach(content, i, part) {
            G4_TRY(put_text(c, json_object_get(part, "text"), 0));
            chat_puts(&c->out, " ");
        }
    }
    c->file = c->chat->tools_file ? c->chat->tools_file : c->chat->file;
    if (c->chat->tools) json_array_foreach(c->chat->tools, i, tool) {
        snprintf(c->where, sizeof c->where, "tools[%zu].function", i);
        G4_TRY(chat_declaration(c, tool));
    }
    c->file = c->chat->file;
    chat_puts(&c->out, "<turn|>\n");
    return G4_OK;
}

static void put_generation_prompt(chat_ctx *c, last_thing last)
{
    if (last == LAST_OTHER) {
        chat_puts(&c->out, "<|turn>model\n");
        if (c->o->thinking != 1 && c->o->empty_thought)
            chat_puts(&c->out, "<|channel>thought\n<channel|>");
    } else if (last == LAST_RESPONSE && c->o->thinking == 1 && c->o->edition >= G4_CHAT_JULY) {
        chat_puts(&c->out, "<|channel>thought\n");
    }
}

static g4_status render(chat_ctx *c)
{
    json_t *messages = c->chat->messages, *message;
    size_t skipped, i, n = json_array_size(messages), last_user = 0;
    const char *previous = "";   /* role of the last message that is no tool's */
    last_thing last = LAST_OTHER;
    chat_puts(&c->out, "<bos>");
    G4_TRY(put_system(c, &skipped));
    for (i = skipped; i < n; i++)   /* 1 + the index, 0: none */
        if (is_role(json_array_get(messages, i), "user")) last_user = i - skipped + 1;
    for (i = skipped; i < n; i++) {
        message = json_array_get(messages, i);
        if (is_role(message, "tool")) continue;
        turn t = { .message = message, .index = i - skipped, .last = LAST_OTHER };
        t.is_model = is_role(message, "assistant") || is_role(message, "model");
        if (!(t.is_model && !strcmp(previous, "assistant"))) {
            chat_puts(&c->out, "<|turn>");
            chat_puts(&c->out, t.is_model ? "model" : role_of(message));
            chat_puts(&c->out, "\n");
        }
        put_thinking(c, &t, t.index + 1 > last_user);
        G4_TRY(put_calls(c, &t, i));
        G4_TRY(put_results(c, &t, skipped));
        snprintf(c->where, sizeof c->where, "messages[%zu]", i);
        G4_TRY(put_content(c, &t));
        put_end(c, &t, skipped);
        previous = role_of(message);
        last = t.last;
    }
    if (c->o->add_generation_prompt) put_generation_prompt(c, last);
    return G4_OK;
}

/* Placeholders in the text that no media stands behind. */
static void count_strays(g4_chat_text *t)
{
    static const char *const marks[] = { "<|image|>", "<|audio|>", "<|video|>" };
    size_t m = 0;
    for (const char *p = t->text; (p = memchr(p, '<', t->len - (size_t)(p - t->text))); p++) {
        size_t at = (size_t)(p - t->text);
        while (m < t->media_count && t->media[m].offset < at) m++;
        if (m < t->media_count && t->media[m].offset == at) continue;
        for (size_t i = 0; i < 3; i++)
            if (!strncmp(p, marks[i], 9) && !t->stray++) t->stray_offset = at;
    }
}

g4_status g4_chat_render(const g4_chat *chat, const g4_chat_options *o, g4_chat_text *out,
                         g4_err *err)
{
    chat_ctx c = { .chat = chat, .o = o, .file = chat->file, .err = err };
    g4_status s = render(&c);
    g4_arena_free(&c.arena);
    if (s == G4_OK && c.out.failed) s = g4_nomem(err, chat->file);
    *out = (g4_chat_text){ .text = c.out.data, .len = c.out.len, .media = c.media,
                           .media_count = c.media_count };
    if (s != G4_OK) {
        g4_chat_text_free(out);
        return s;
    }
    count_strays(out);
    return G4_OK;
}

void g4_chat_text_free(g4_chat_text *t)
{
    for (size_t i = 0; i < t->media_count; i++) free(t->media[i].path);
    free(t->media);
    free(t->text);
    *t = (g4_chat_text){ 0 };
}
