/* SPDX-License-Identifier: Apache-2.0
 * Checks a conversation before anything is rendered: every fault names file,
 * message, field and what stands there.  What passes has the types the renderer
 * and the template rely on.  Stricter than Jinja2, which prints nothing for a
 * misspelt part or a missing text. */
#include "ref/input/chat_impl.h"
#include "ref/input/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bounds the search of tool results for their calls (a product of the two). */
enum { MAX_MESSAGES = 65536, MAX_CALLS = 256 };

typedef struct place {        /* where we are, for messages */
    const g4_chat *chat;
    char where[CHAT_WHERE];   /* messages[3].tool_calls[0] */
    g4_err *err;
} place;

static const char *type_name(const json_t *v)
{
    static const char *const names[] = { "an object", "an array", "a string", "an integer",
                                         "a number", "true", "false", "null" };
    return v ? names[json_typeof(v)] : "missing";
}

static g4_status wrong(const place *at, const char *key, const json_t *v, const char *want)
{
    return g4_fail(at->err, G4_EINPUT, "%s: %s.%s is %s, expected %s", at->chat->file, at->where,
                   key, type_name(v), want);
}

/* The member if it is there and not null. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

static g4_status want_string(const place *at, const json_t *object, const char *key, int required)
{
    json_t *v = json_object_get(object, key);
    if (json_is_string(v) || (!required && (!v || json_is_null(v)))) return G4_OK;
    return wrong(at, key, v, required ? "a string" : "a string or null");
}

/* An array of objects, not too many; *list NULL where absent. */
static g4_status want_list(const place *at, const json_t *object, const char *key, json_t **list)
{
    *list = member(object, key);
    if (*list && !json_is_array(*list)) return wrong(at, key, *list, "an array");
    if (json_array_size(*list) > MAX_CALLS)
        return g4_fail(at->err, G4_EINPUT, "%s: %s.%s has %zu entries, at most %d are taken",
                       at->chat->file, at->where, key, json_array_size(*list), (int)MAX_CALLS);
    return G4_OK;
}

/* Moves to entry i of a list and checks that it is an object. */
static g4_status enter(place *in, const place *at, const char *key, size_t i, const json_t *entry)
{
    *in = *at;
    snprintf(in->where, sizeof in->where, "%.100s.%s[%zu]", at->where, key, i);
    if (json_is_object(entry)) return G4_OK;
    return g4_fail(at->err, G4_EINPUT, "%s: %s is %s, expected an object", at->chat->file,
                   in->where, type_name(entry));
}

int chat_media_kind(const char *type)
{
    static const struct { const char *type; int kind; } rows[] = {
        { "image", G4_IMAGE }, { "image_url", G4_IMAGE },
        { "audio", G4_AUDIO }, { "audio_url", G4_AUDIO }, { "input_audio", G4_AUDIO },
        { "video", G4_VIDEO }, { "video_url", G4_VIDEO },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(type, rows[i].type)) return rows[i].kind;
    return 0;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
           c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes %41 in a file:// address, in place; 0: malformed, or a NUL byte. */
static int percent_decode(char *s)
{
    char *out = s;
    for (; *s; s++) {
        if (*s == '%') {
            int hi = hex(s[1]), lo = hi < 0 ? -1 : hex(s[2]);
            if (lo < 0 || hi * 16 + lo == 0) return 0;
            *out++ = (char)(hi * 16 + lo);
            s += 2;
        } else {
            *out++ = *s;
        }
    }
    *out = 0;
    return 1;
}

/* A file name or an address -> a path the caller frees. */
static g4_status to_path(const g4_chat *chat, const char *source, const char *where, char **path,
                         g4_err *err)
{
    const char *rest = source, *colon = strstr(source, "://");
    int file = !strncmp(source, "file://", 7);
    if (!strncmp(source, "data:", 5) || (colon && !file))
        return g4_fail(err, G4_EINPUT,
                       "%s: %s: %.40s... is not supported, only local files and file:// are",
                       chat->file, where, source);
    if (file) rest += !strncmp(source, "file://localhost/", 17) ? 16 : 7;
    if (!*rest || (file && *rest != '/'))
        return g4_fail(err, G4_EINPUT, "%s: %s: %s", chat->file, where,
                       *rest ? "a file:// address must go on with /" : "empty file name");
    size_t dir = *rest == '/' ? 0 : strlen(chat->dir), len = strlen(rest);
    char *p = malloc(dir + len + 1);
    if (!p) return g4_nomem(err, chat->file);
    memcpy(p, chat->dir, dir);
    memcpy(p + dir, rest, len + 1);
    if (file && !percent_decode(p)) {
        free(p);
        return g4_fail(err, G4_EINPUT, "%s: %s: bad %%XX in %.80s", chat->file, where, source);
    }
    *path = p;
    return G4_OK;
}

/* The member that names the file; image_url and the like may hold it one level down. */
static g4_status find_source(const g4_chat *chat, const json_t *part, const char *where,
                             const char **source, g4_err *err)
{
    static const char *const keys[] = { "path", "url", "image", "image_url", "audio", "audio_url",
                                        "input_audio", "video", "video_url" };
    *source = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = member(part, keys[i]);
        if (!v) continue;
        if (json_is_object(v) && member(v, "data"))
            return g4_fail(err, G4_EINPUT,
                           "%s: %s.%s: data inside the JSON is not supported, give a file's path",
                           chat->file, where, keys[i]);
        if (json_is_object(v)) v = member(v, "url") ? member(v, "url") : member(v, "path");
        if (!json_is_string(v))
            return g4_fail(err, G4_EINPUT, "%s: %s.%s names no file", chat->file, where, keys[i]);
        *source = json_string_value(v);
        return G4_OK;
    }
    if (member(part, "base64"))
        return g4_fail(err, G4_EINPUT,
                       "%s: %s.base64: data inside the JSON is not supported, give a file's path",
                       chat->file, where);
    return G4_OK;
}

g4_status chat_media_path(const g4_chat *chat, const json_t *part, const char *where, char **path,
                          g4_err *err)
{
    const char *source;
    char *found = NULL;
    G4_TRY(find_source(chat, part, where, &source, err));
    if (source) G4_TRY(to_path(chat, source, where, &found, err));
    if (path) *path = found;
    else free(found);
    return G4_OK;
}

static g4_status check_parts(const place *at, const json_t *parts)
{
    size_t i;
    json_t *part;
    json_array_foreach(parts, i, part) {
        place in;
        G4_TRY(enter(&in, at, "content", i, part));
        G4_TRY(want_string(&in, part, "type", 1));
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!strcmp(type, "text")) {
            G4_TRY(want_string(&in, part, "text", 1));
        } else if (chat_media_kind(type)) {
            G4_TRY(chat_media_path(in.chat, part, in.where, NULL, in.err));
        } else {
            return g4_fail(at->err, G4_EINPUT,
                           "%s: %s.type is \"%.40s\", expected text, image, audio or video",
                           at->chat->file, in.where, type);
        }
    }
    return G4_OK;
}

static g4_status check_content(const place *at, const json_t *message, const char *role)
{
    json_t *content = json_object_get(message, "content");
    int tool = !strcmp(role, "tool"), model = !strcmp(role, "assistant") || !strcmp(role, "model");
    if (json_is_array(content)) return check_parts(at, content);
    if (json_is_string(content) || (tool && content)) return G4_OK;
    if (model && (!content || json_is_null(content))) return G4_OK;
    return wrong(at, "content", content, tool ? "a value" : "a string or an array of parts");
}

static g4_status check_calls(const place *at, const json_t *message)
{
    size_t i;
    json_t *calls, *entry;
    place in;
    G4_TRY(want_list(at, message, "tool_calls", &calls));
    json_array_foreach(calls, i, entry) {
        G4_TRY(enter(&in, at, "tool_calls", i, entry));
        G4_TRY(want_string(&in, entry, "id", 0));
        json_t *function = json_object_get(entry, "function");
        if (!json_is_object(function)) return wrong(&in, "function", function, "an object");
        strcat(in.where, ".function");   /* enter leaves room */
        G4_TRY(want_string(&in, function, "name", 1));
        json_t *arguments = member(function, "arguments");
        if (arguments && !json_is_object(arguments) && !json_is_string(arguments))
            return wrong(&in, "arguments", arguments, "an object");
    }
    G4_TRY(want_list(at, message, "tool_responses", &calls));
    json_array_foreach(calls, i, entry) {
        G4_TRY(enter(&in, at, "tool_responses", i, entry));
        G4_TRY(want_string(&in, entry, "name", 0));
        if (!json_object_get(entry, "response")) return wrong(&in, "response", NULL, "a value");
    }
    return G4_OK;
}

static g4_status check_message(const place *at, const json_t *message)
{
    static const char *const roles[] = { "system", "developer", "user", "assistant", "model",
                                         "tool" };
    G4_TRY(want_string(at, message, "role", 1));
    const char *role = json_string_value(json_object_get(message, "role"));
    int known = 0;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) known |= !strcmp(role, roles[i]);
    if (!known)
        return g4_fail(at->err, G4_EINPUT,
                       "%s: %s.role is \"%.40s\", expected system, developer, user, assistant, "
                       "model or tool", at->chat->file, at->where, role);
    G4_TRY(check_content(at, message, role));
    G4_TRY(want_string(at, message, "reasoning", 0));
    G4_TRY(want_string(at, message, "reasoning_content", 0));
    G4_TRY(want_string(at, message, "tool_call_id", 0));
    G4_TRY(want_string(at, message, "name", 0));
    return check_calls(at, message);
}

g4_status chat_check_messages(const g4_chat *chat, g4_err *err)
{
    size_t i, n = json_array_size(chat->messages);
    json_t *message;
    place at = { chat, "", err };
    if (n == 0 || n > MAX_MESSAGES)
        return g4_fail(err, G4_EINPUT, "%s: messages has %zu entries, expected 1 to %d",
                       chat->file, n, (int)MAX_MESSAGES);
    json_array_foreach(chat->messages, i, message) {
        snprintf(at.where, sizeof at.where, "messages[%zu]", i);
        if (!json_is_object(message))
            return g4_fail(err, G4_EINPUT, "%s: %s is %s, expected an object", chat->file,
                           at.where, type_name(message));
        G4_TRY(check_message(&at, message));
    }
    return G4_OK;
}

g4_status chat_check_tools(const char *file, json_t *tools, g4_err *err)
{
    size_t i;
    json_t *tool;
    g4_chat named = { .file = (char *)file };
    place at = { &named, "", err };
    json_array_foreach(tools, i, tool) {
        snprintf(at.where, sizeof at.where, "tools[%zu]", i);
        if (!json_is_object(tool))
            return g4_fail(err, G4_EINPUT, "%s: %s is %s, expected an object", file, at.where,
                           type_name(tool));
        json_t *function = json_object_get(tool, "function");
        if (!json_is_object(function)) return wrong(&at, "function", function, "an object");
        snprintf(at.where, sizeof at.where, "tools[%zu].function", i);
        G4_TRY(want_string(&at, function, "name", 1));
        json_t *params = member(function, "parameters"), *response = member(function, "response");
        if (params && !json_is_object(params)) return wrong(&at, "parameters", params, "an object");
        if (response && !json_is_object(response))
            return wrong(&at, "response", response, "an object");
    }
    return G4_OK;
}
