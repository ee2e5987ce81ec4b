/* SPDX-License-Identifier: Apache-2.0
 * Reading a conversation, and telling which edition of the template a
 * checkpoint carries.  Rendering: chat_render.c; answers: chat_parse.c. */
#include "ref/input/chat_impl.h"

#include "ref/base/json.h"
#include "ref/base/map.h"
#include "ref/file/document.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CHAT_BYTES = 16 << 20, MAX_TEMPLATE_BYTES = 1 << 20 };

g4_chat_options g4_chat_defaults(void)
{
    return (g4_chat_options){ .edition = G4_CHAT_APRIL, .thinking = -1,
                              .add_generation_prompt = 1, .empty_thought = 1 };
}

static int contains(const char *text, size_t len, const char *what)
{
    return memmem(text, len, what, strlen(what)) != NULL;
}

/* Vendors rewrite the template and keep its names: one has a macro of its own, one
 * (Unsloth's of July) closes turns otherwise and resets this variable once more. */
static int is_rewritten(const char *text, size_t len)
{
    static const char reset[] = "prev_message_type = None";
    const char *first = memmem(text, len, reset, strlen(reset));
    return contains(text, len, "format_type_argument") ||
           (first && contains(first + 1, len - (size_t)(first + 1 - text), reset));
}

/* Names of the template's own variables tell the editions apart. */
g4_status g4_chat_detect(g4_chat_options *o, const char *file, const char *text, size_t len,
                         g4_err *err)
{
    int ours = contains(text, len, "<|turn>") && contains(text, len, "strip_thinking") &&
               contains(text, len, "format_tool_response_block") && !is_rewritten(text, len);
    int filter = contains(text, len, "filter_keys"), null = contains(text, len, "argument is none");
    int captured = contains(text, len, "captured_content");
    int media = contains(text, len, "part.get('type') == 'image'");   /* of a tool's result */
    int july = contains(text, len, "thinking_gate") && contains(text, len, "continues_into_next");
    if (ours && july && filter && null && captured) o->edition = G4_CHAT_JULY;
    else if (ours && !july && filter && !null && captured)
        o->edition = media ? G4_CHAT_MAY : G4_CHAT_APRIL28;
    else if (ours && !july && !filter && !null && !captured) o->edition = G4_CHAT_APRIL;
    else
        return g4_fail(err, G4_EINPUT, "%s: not one of the editions of Gemma 4's chat template "
                       "that are known here (10 April, 28 April, May, July 2026)", file);
    o->empty_thought = contains(text, len, "<|channel>thought\\n<channel|>");
    return G4_OK;
}

/* tokenizer_config.json: chat_template is a text, or a list of named ones. */
static g4_status config_template(char **text, const char *path, g4_err *err)
{
    g4_json j;
    size_t i;
    json_t *entry;
    G4_TRY(g4_json_load(&j, path, MAX_CHAT_BYTES, err));
    json_t *t = json_object_get(j.root, "chat_template");
    if (json_is_array(t)) {
        json_t *list = t;
        json_array_foreach(list, i, entry) {
            const char *name = json_string_value(json_object_get(entry, "name"));
            if (name && !strcmp(name, "default")) t = json_object_get(entry, "template");
        }
    }
    g4_status s = G4_OK;
    if (json_is_string(t)) {
        *text = strdup(json_string_value(t));
        if (!*text) s = g4_nomem(err, path);
    } else if (t && !json_is_null(t)) {
        s = g4_fail(err, G4_EINPUT, "%s: chat_template is not a string", path);
    }
    g4_json_free(&j);
    return s;
}

static g4_status gguf_template(char **out, const char *model, g4_err *err)
{
    g4_gguf_pair p;
    size_t len = 0;
    G4_TRY(g4_gguf_open_model(&p, model, err));
    const g4_gguf_key *k = g4_gguf_find(p.main, "tokenizer.chat_template");
    const char *text = g4_gguf_string(k, &len);
    g4_status s = G4_OK;
    if (k && !text)
        s = g4_fail(err, G4_EINPUT, "%s: key tokenizer.chat_template is no string", model);
    if (text && !(*out = strndup(text, len))) s = g4_nomem(err, model);
    g4_gguf_close_model(&p);
    return s;
}

static g4_status file_template(char **text, const char *path, g4_err *err)
{
    uint8_t *data;
    size_t size;
    G4_TRY(g4_file_read(path, MAX_TEMPLATE_BYTES, &data, &size, err));
    *text = strndup((const char *)data, size);
    free(data);
    return *text ? G4_OK : g4_nomem(err, path);
}

g4_status g4_chat_template_dir(char **text, g4_chat_options *o, const char *dir, g4_err *err)
{
    g4_arena a = { NULL };
    int gguf = g4_gguf_named(dir);
    const char *from = dir;
    char *jinja = g4_arena_printf(&a, "%s/chat_template.jinja", dir);
    char *config = g4_arena_printf(&a, "%s/tokenizer_config.json", dir);
    g4_status s = jinja && config ? G4_OK : g4_nomem(err, dir);
    *text = NULL;
    if (s == G4_OK && gguf) s = gguf_template(text, dir, err);
    else if (s == G4_OK && g4_path_kind(jinja) != 0) s = file_template(text, from = jinja, err);
    else if (s == G4_OK && g4_path_kind(config) != 0) s = config_template(text, from = config, err);
    if (s == G4_OK && *text) s = g4_chat_detect(o, from, *text, strlen(*text), err);
    if (s != G4_OK) {
        free(*text);
        *text = NULL;
    }
    g4_arena_free(&a);
    return s;
}

g4_status g4_chat_detect_dir(g4_chat_options *o, const char *dir, g4_err *err)
{
    char *text;
    G4_TRY(g4_chat_template_dir(&text, o, dir, err));
    free(text);
    return G4_OK;
}

/* The array in a document that is one, or has it under key; NULL: neither. */
static json_t *find_array(json_t *root, const char *key)
{
    json_t *v = json_is_object(root) ? json_object_get(root, key) : root;
    return json_is_array(v) ? v : NULL;
}

static g4_status fill(g4_chat *chat, const char *file, const void *json, size_t size, g4_err *err)
{
    g4_json j;
    const char *slash = strrchr(file, '/');
    chat->file = strdup(file);
    chat->dir = slash ? strndup(file, (size_t)(slash - file) + 1) : strdup("");
    if (!chat->file || !chat->dir) return g4_nomem(err, file);
    G4_TRY(g4_json_parse(&j, file, json, size, err));
    chat->root = j.root;
    chat->messages = find_array(j.root, "messages");
    if (!chat->messages)
        return g4_fail(err, G4_EINPUT, "%s: neither an array of messages nor an object with one "
                       "under \"messages\"", file);
    G4_TRY(chat_check_messages(chat, err));
    json_t *tools = json_is_object(j.root) ? json_object_get(j.root, "tools") : NULL;
    if (!tools || json_is_null(tools)) return G4_OK;
    if (!json_is_array(tools))
        return g4_fail(err, G4_EINPUT, "%s: tools is not an array", file);
    chat->tools = tools;
    return chat_check_tools(file, tools, err);
}

g4_status g4_chat_parse(g4_chat **chat, const char *file, const void *json, size_t size,
                        g4_err *err)
{
    *chat = calloc(1, sizeof **chat);
    if (!*chat) return g4_nomem(err, file);
    g4_status s = fill(*chat, file, json, size, err);
    if (s != G4_OK) {
        g4_chat_free(*chat);
        *chat = NULL;
    }
    return s;
}

g4_status g4_chat_set_tools(g4_chat *chat, const char *file, const void *json, size_t size,
                            g4_err *err)
{
    g4_json j;
    G4_TRY(g4_json_parse(&j, file, json, size, err));
    json_t *tools = find_array(j.root, "tools");
    char *name = strdup(file);
    g4_status s = !name ? g4_nomem(err, file) :
                  !tools ? g4_fail(err, G4_EINPUT, "%s: neither an array of tools nor an object "
                                   "with one under \"tools\"", file) :
                  chat_check_tools(file, tools, err);
    if (s != G4_OK) {
        free(name);
        g4_json_free(&j);
        return s;
    }
    json_decref(chat->tools_root);
    free(chat->tools_file);
    chat->tools_root = j.root;
    chat->tools_file = name;
    chat->tools = tools;
    return G4_OK;
}

g4_status g4_chat_load(g4_chat **chat, const char *path, const char *tools, g4_err *err)
{
    uint8_t *data;
    size_t size;
    *chat = NULL;
    G4_TRY(g4_file_read(path, MAX_CHAT_BYTES, &data, &size, err));
    g4_status s = g4_chat_parse(chat, path, data, size, err);
    free(data);
    if (s != G4_OK || !tools) return s;
    s = g4_file_read(tools, MAX_CHAT_BYTES, &data, &size, err);
    if (s == G4_OK) {
        s = g4_chat_set_tools(*chat, tools, data, size, err);
        free(data);
    }
    if (s != G4_OK) {
        g4_chat_free(*chat);
        *chat = NULL;
    }
    return s;
}

void g4_chat_free(g4_chat *chat)
{
    if (!chat) return;
    json_decref(chat->root);
    json_decref(chat->tools_root);
    free(chat->file);
    free(chat->dir);
    free(chat->tools_file);
    free(chat);
}
