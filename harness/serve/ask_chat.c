/* SPDX-License-Identifier: Apache-2.0
 * The messages of a chat: 1 media are taken out of them and replaced by their numbers, 2 what
 * is left goes through the checks and the template that a file of messages goes through, 3 the
 * template's placeholders find their media by number.  A number is all that a "path" can be
 * here, so no client's text is ever the name of a file. */
#include "harness/reply.h"
#include "harness/request.h"
#include "harness/serve/ask.h"

#include <stdlib.h>
#include <string.h>

static const char name[] = "request";

/* ---- media ---- */

/* 0 .. 63; 64: none of these */
static unsigned sextet(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned)(c - 'A') : c >= 'a' && c <= 'z' ?
           (unsigned)(c - 'a') + 26 : c >= '0' && c <= '9' ? (unsigned)(c - '0') + 52 :
           c == '+' ? 62 : c == '/' ? 63 : 64;
}

int g4_base64_decode(const char *text, size_t len, uint8_t **data, size_t *size)
{
    size_t pad = 0, n = 0;
    *data = NULL;
    if (len == 0 || len % 4 != 0) return 0;
    while (pad < 2 && text[len - 1 - pad] == '=') pad++;
    uint8_t *out = malloc(len / 4 * 3);
    if (!out) return -1;
    uint32_t word = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned v = i < len - pad ? sextet(text[i]) : 0;
        word = word << 6 | v;
        if (v == 64) {
            free(out);
            return 0;
        }
        if (i % 4 != 3) continue;
        for (int shift = 16; shift >= 0; shift -= 8) out[n++] = (uint8_t)(word >> shift);
        word = 0;
    }
    *size = n - pad;
    *data = out;
    if (pad && out[n - pad]) {   /* bits behind the last byte */
        free(out);
        *data = NULL;
        return 0;
    }
    return 1;
}

/* "data:image/png;base64,..." -> what is behind the comma; NULL: not such an address. */
static const char *data_address(const char *url)
{
    const char *comma = strchr(url, ',');
    static const char tail[] = ";base64";
    if (strncmp(url, "data:", 5) != 0 || !comma || comma - url < (ptrdiff_t)sizeof tail)
        return NULL;
    return strncmp(comma - (sizeof tail - 1), tail, sizeof tail - 1) == 0 ? comma + 1 : NULL;
}

static g4_status add_media(g4_ask *a, const char *where, const char *text, g4_err *err)
{
    g4_ask_media *m = &a->media[a->media_count];
    int good = g4_base64_decode(text, strlen(text), &m->data, &m->size);
    if (good < 0) return g4_nomem(err, name);
    if (!good || m->size == 0)
        return g4_fail(err, G4_EINPUT, "%s: %s: not base64 of a file", name, where);
    a->media_count++;
    return G4_OK;
}

/* The text of a part's file; NULL: it has none.  *key: where it stood. */
static g4_status find_media(const json_t *part, const char *where, const char **text,
                            const char **key, g4_err *err)
{
    static const char *const keys[] = { "image_url", "audio_url", "video_url", "input_audio" };
    static const char *const files[] = { "path", "url", "image", "audio", "video", "base64" };
    *text = NULL;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (json_object_get(part, files[i]))
            return g4_fail(err, G4_EINPUT, "%s: %s.%s: media come as image_url (or audio_url, "
                           "video_url) with a data: address, or as input_audio", name, where,
                           files[i]);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *v = json_object_get(part, keys[i]);
        if (!v) continue;
        if (*text) return g4_fail(err, G4_EINPUT, "%s: %s: two files in one part", name, where);
        *key = keys[i];
        int audio = strcmp(keys[i], "input_audio") == 0;
        const char *found = json_string_value(
            json_is_object(v) ? json_object_get(v, audio ? "data" : "url") : v);
        *text = !found || audio ? found : data_address(found);
        if (!*text)
            return g4_fail(err, G4_EINPUT, "%s: %s.%s: %s", name, where, keys[i],
                           audio ? "expected {\"data\": base64, \"format\": ...}"
                                 : "expected an address data:...;base64,...");
    }
    return G4_OK;
}

static g4_status take_part(g4_ask *a, json_t *part, const char *where, g4_err *err)
{
    const char *text, *key = NULL;
    char number[24];
    G4_TRY(find_media(part, where, &text, &key, err));
    if (!text) return G4_OK;
    snprintf(number, sizeof number, "%zu", a->media_count);
    G4_TRY(add_media(a, where, text, err));
    json_object_del(part, key);
    return json_object_set_new(part, "path", json_string(number)) == 0 ? G4_OK
                                                                       : g4_nomem(err, name);
}

/* OpenAI's clients send arguments back as the text they got; the template wants values. */
static g4_status take_arguments(json_t *message, const char *where, g4_err *err)
{
    size_t i;
    json_t *call, *calls = json_object_get(message, "tool_calls");
    json_array_foreach(calls, i, call) {
        json_t *function = json_object_get(call, "function");
        const char *text = json_string_value(json_object_get(function, "arguments"));
        g4_json j;
        if (!text) continue;
        if (g4_json_parse(&j, name, text, strlen(text), err) != G4_OK || !json_is_object(j.root)) {
            if (j.root) g4_json_free(&j);
            return g4_fail(err, G4_EINPUT, "%s: %s.tool_calls[%zu]: arguments are not the text "
                           "of a JSON object", name, where, i);
        }
        if (json_object_set_new(function, "arguments", j.root) != 0) return g4_nomem(err, name);
    }
    return G4_OK;
}

/* Parts of messages, and media in all. */
static size_t count_parts(const json_t *messages)
{
    size_t i, n = 0;
    json_t *m;
    json_array_foreach(messages, i, m) n += json_array_size(json_object_get(m, "content"));
    return n;
}

static g4_status take_messages(g4_ask *a, json_t *messages, g4_err *err)
{
    size_t i, k;
    json_t *m, *part;
    a->media = g4_arena_alloc(&a->arena, count_parts(messages) + 1, sizeof *a->media);
    if (!a->media) return g4_nomem(err, name);
    json_array_foreach(messages, i, m) {
        char where[96];
        json_t *content = json_object_get(m, "content");
        snprintf(where, sizeof where, "messages[%zu]", i);
        G4_TRY(take_arguments(m, where, err));
        json_array_foreach(content, k, part) {
            snprintf(where, sizeof where, "messages[%zu].content[%zu]", i, k);
            G4_TRY(take_part(a, part, where, err));
        }
    }
    return G4_OK;
}

/* ---- the template ---- */

/* Placeholder k's "path" is the number of its medium. */
static g4_status match_media(g4_ask *a, g4_err *err)
{
    const g4_chat_text *t = &a->text;
    a->media_order = g4_arena_alloc(&a->arena, t->media_count + 1, sizeof *a->media_order);
    if (!a->media_order) return g4_nomem(err, name);
    for (size_t k = 0; k < t->media_count; k++) {
        const char *path = t->media[k].path;
        size_t i = a->media_count;
        char *end = NULL;
        if (path && *path >= '0' && *path <= '9' && strlen(path) < 8)
            i = (size_t)strtoul(path, &end, 10);
        if (i >= a->media_count || *end)
            return g4_fail(err, G4_EINPUT, "%s: media part %zu has no data: address", name, k + 1);
        a->media_order[k] = i;
    }
    return G4_OK;
}

static g4_status take_tools(const g4_ask *a, json_t *conversation, g4_err *err)
{
    json_t *tools = json_object_get(a->root, "tools");
    json_t *choice = json_object_get(a->root, "tool_choice");
    const char *text = json_string_value(choice);
    int none = text && strcmp(text, "none") == 0;
    if (choice && !json_is_null(choice) && !none && !(text && strcmp(text, "auto") == 0))
        return g4_fail(err, G4_EINPUT, "request: tool_choice is neither auto nor none");
    if (!tools || json_is_null(tools) || none) return G4_OK;
    return json_object_set(conversation, "tools", tools) == 0 ? G4_OK : g4_nomem(err, name);
}

static g4_status take_kwargs(const g4_ask *a, g4_chat_options *o, g4_err *err)
{
    g4_json j = { a->root, name }, more;
    const char *key;
    json_t *v;
    G4_TRY(g4_json_object(&j, "chat_template_kwargs", 0, &more, err));
    if (!more.root) return G4_OK;
    json_object_foreach(more.root, key, v)
        if (strcmp(key, "enable_thinking") != 0)
            return g4_fail(err, G4_EINPUT, "request: chat_template_kwargs: only enable_thinking "
                           "is known");
    return g4_json_opt_bool(&more, "enable_thinking", &o->thinking, err);
}

static g4_status render(g4_ask *a, const json_t *conversation, const g4_chat_options *o,
                        g4_err *err)
{
    g4_chat *chat = NULL;
    char *text = json_dumps(conversation, JSON_COMPACT);
    if (!text) return g4_nomem(err, name);
    size_t len = strlen(text);
    g4_status s = len > G4_ASK_BODY
                      ? g4_fail(err, G4_EINPUT, "%s: more than %d bytes besides media", name,
                                (int)G4_ASK_BODY)
                      : g4_chat_parse(&chat, name, text, len, err);
    free(text);
    if (s == G4_OK) s = g4_chat_write(&a->text, chat, o, name, err);
    g4_chat_free(chat);
    return s;
}

g4_status g4_ask_messages(g4_ask *a, const g4_ask_model *m, g4_err *err)
{
    json_t *messages = json_object_get(a->root, "messages");
    g4_chat_options o = m->chat;
    if (!json_is_array(messages)) return g4_fail(err, G4_EINPUT, "request: messages is no list");
    G4_TRY(take_messages(a, messages, err));
    G4_TRY(take_kwargs(a, &o, err));
    json_t *conversation = json_pack("{s:O}", "messages", messages);
    g4_status s = conversation ? take_tools(a, conversation, err) : g4_nomem(err, name);
    if (s == G4_OK) s = render(a, conversation, &o, err);
    json_decref(conversation);
    G4_TRY(s);
    a->in_thought = g4_reply_in_thought(a->text.text);
    return match_media(a, err);
}
