/* SPDX-License-Identifier: Apache-2.0
 * Tools in the prompt: declarations from JSON schemas, arguments of calls,
 * results.  Each function is the template's macro of the name in its comment;
 * the odd things it prints (no closing brace without a type, parameters called
 * "type" left out in the April edition) are the template's. */
#include "ref/input/chat_impl.h"

#include <stdlib.h>
#include <string.h>

#define QUOTE "<|\"|>"

/* x['key']: NULL where x is no object or has no such member. */
static json_t *get(const json_t *x, const char *key)
{
    return json_is_object(x) ? json_object_get(x, key) : NULL;
}

static void put_quoted(chat_ctx *c, const json_t *value)
{
    chat_puts(&c->out, QUOTE);
    chat_str(&c->out, value);
    chat_puts(&c->out, QUOTE);
}

static g4_status put_type(chat_ctx *c, const json_t *type)
{
    chat_puts(&c->out, "type:" QUOTE);
    G4_TRY(chat_upper(c, &c->out, type));
    chat_puts(&c->out, QUOTE "}");
    return G4_OK;
}

/* required:[...]; a value that is no list is an error (the template would fail on it). */
static g4_status put_required(chat_ctx *c, const json_t *list)
{
    size_t i;
    json_t *item;
    if (!json_is_array(list))
        return g4_fail(c->err, G4_EINPUT, "%s: %s: required is not an array", c->file, c->where);
    chat_puts(&c->out, "required:[");
    json_array_foreach(list, i, item) {
        if (i) chat_puts(&c->out, ",");
        put_quoted(c, item);
    }
    chat_puts(&c->out, "]");
    return G4_OK;
}

/* format_argument for an object: sorted members, keys quoted or bare. */
static g4_status put_members(chat_ctx *c, json_t *object, int escape_keys)
{
    chat_member *m;
    size_t n;
    G4_TRY(chat_dictsort(c, object, &m, &n));
    for (size_t i = 0; i < n; i++) {
        if (i) chat_puts(&c->out, ",");
        if (escape_keys) chat_puts(&c->out, QUOTE);
        chat_puts(&c->out, m[i].key);
        chat_puts(&c->out, escape_keys ? QUOTE ":" : ":");
        G4_TRY(chat_argument(c, m[i].value, escape_keys));
    }
    return G4_OK;
}

g4_status chat_members(chat_ctx *c, json_t *object)
{
    return put_members(c, object, 0);
}

/* format_argument */
g4_status chat_argument(chat_ctx *c, json_t *value, int escape_keys)
{
    size_t i;
    json_t *item;
    if (json_is_null(value) && c->o->edition >= G4_CHAT_JULY) {
        chat_puts(&c->out, "null");
    } else if (json_is_string(value)) {
        put_quoted(c, value);
    } else if (json_is_boolean(value)) {
        chat_puts(&c->out, json_is_true(value) ? "true" : "false");
    } else if (json_is_object(value)) {
        chat_puts(&c->out, "{");
        G4_TRY(put_members(c, value, escape_keys));
        chat_puts(&c->out, "}");
    } else if (json_is_array(value)) {
        chat_puts(&c->out, "[");
        json_array_foreach(value, i, item) {
            if (i) chat_puts(&c->out, ",");
            G4_TRY(chat_argument(c, item, escape_keys));
        }
        chat_puts(&c->out, "]");
    } else {
        chat_str(&c->out, value);
    }
    return G4_OK;
}

static g4_status put_parameters(chat_ctx *c, json_t *properties, int filter_keys);

/* The type of an array's items: a name, or a list of names. */
static g4_status put_items_type(chat_ctx *c, json_t *type)
{
    size_t i;
    json_t *item;
    chat_puts(&c->out, json_is_array(type) ? "type:[" : "type:");
    if (json_is_array(type)) {
        json_array_foreach(type, i, item) {
            chat_puts(&c->out, i ? "," QUOTE : QUOTE);
            G4_TRY(chat_upper(c, &c->out, item));
            chat_puts(&c->out, QUOTE);
        }
        chat_puts(&c->out, "]");
        return G4_OK;
    }
    if (!json_is_string(type))
        return g4_fail(c->err, G4_EINPUT, "%s: %s: type of items is neither a string nor an array",
                       c->file, c->where);
    chat_puts(&c->out, QUOTE);
    G4_TRY(chat_upper(c, &c->out, type));
    chat_puts(&c->out, QUOTE);
    return G4_OK;
}

/* The items of an array type, braces included. */
static g4_status put_items(chat_ctx *c, json_t *items)
{
    chat_member *m;
    size_t n, written = 0;
    G4_TRY(chat_dictsort(c, items, &m, &n));
    chat_puts(&c->out, "items:{");
    for (size_t i = 0; i < n; i++) {
        if (json_is_null(m[i].value)) continue;
        if (written++) chat_puts(&c->out, ",");
        if (!strcmp(m[i].key, "properties")) {
            chat_puts(&c->out, "properties:{");
            if (json_is_object(m[i].value)) G4_TRY(put_parameters(c, m[i].value, 0));
            chat_puts(&c->out, "}");
        } else if (!strcmp(m[i].key, "required")) {
            G4_TRY(put_required(c, m[i].value));
        } else if (!strcmp(m[i].key, "type")) {
            G4_TRY(put_items_type(c, m[i].value));
        } else {
            chat_puts(&c->out, m[i].key);
            chat_puts(&c->out, ":");
            G4_TRY(chat_argument(c, m[i].value, 1));
        }
    }
    chat_puts(&c->out, "}");
    return G4_OK;
}

static void comma(chat_ctx *c, int *needed)
{
    if (*needed) chat_puts(&c->out, ",");
    *needed = 1;
}

static g4_status put_object_type(chat_ctx *c, json_t *schema, int *needed)
{
    json_t *properties = get(schema, "properties"), *required = get(schema, "required");
    comma(c, needed);
    chat_puts(&c->out, "properties:{");
    /* Without properties the schema's own members are taken for them. */
    if (json_is_object(properties)) G4_TRY(put_parameters(c, properties, 0));
    else G4_TRY(put_parameters(c, schema, 1));
    chat_puts(&c->out, "}");
    if (!chat_truthy(required)) return G4_OK;
    comma(c, needed);
    return put_required(c, required);
}

/* One parameter, from its name to the brace behind its type.  kind: its type in
 * capitals, as the template compares it. */
static g4_status put_parameter(chat_ctx *c, const char *key, json_t *schema, const char *kind)
{
    int needed = 0;
    json_t *items = get(schema, "items");
    chat_puts(&c->out, key);
    chat_puts(&c->out, ":{");
    if (chat_truthy(get(schema, "description"))) {
        chat_puts(&c->out, "description:");
        put_quoted(c, get(schema, "description"));
        needed = 1;
    }
    if (!strcmp(kind, "STRING") && chat_truthy(get(schema, "enum"))) {
        comma(c, &needed);
        chat_puts(&c->out, "enum:");
        G4_TRY(chat_argument(c, get(schema, "enum"), 1));
    } else if (!strcmp(kind, "ARRAY") && json_is_object(items) && chat_truthy(items)) {
        comma(c, &needed);
        G4_TRY(put_items(c, items));
    }
    if (chat_truthy(get(schema, "nullable"))) {
        comma(c, &needed);
        chat_puts(&c->out, "nullable:true");
    }
    if (!strcmp(kind, "OBJECT")) G4_TRY(put_object_type(c, schema, &needed));
    comma(c, &needed);
    return put_type(c, get(schema, "type"));
}

static int is_standard(const char *key)
{
    return !strcmp(key, "description") || !strcmp(key, "type") || !strcmp(key, "properties") ||
           !strcmp(key, "required") || !strcmp(key, "nullable");
}

/* format_parameters; the April edition always filters. */
static g4_status put_parameters(chat_ctx *c, json_t *properties, int filter_keys)
{
    chat_member *m;
    size_t n, written = 0;
    if (c->o->edition == G4_CHAT_APRIL) filter_keys = 1;
    G4_TRY(chat_dictsort(c, properties, &m, &n));
    for (size_t i = 0; i < n; i++) {
        chat_buf kind = { NULL, 0, 0, 0 };
        if (filter_keys && is_standard(m[i].key)) continue;
        if (written++) chat_puts(&c->out, ",");
        g4_status s = chat_upper(c, &kind, get(m[i].value, "type"));
        if (s == G4_OK && kind.failed) s = g4_nomem(c->err, c->file);
        if (s == G4_OK)
            s = put_parameter(c, m[i].key, m[i].value, kind.data ? kind.data : "");
        free(kind.data);
        G4_TRY(s);
    }
    return G4_OK;
}

static g4_status put_function_parameters(chat_ctx *c, json_t *params)
{
    json_t *properties = get(params, "properties"), *required = get(params, "required");
    chat_puts(&c->out, ",parameters:{");
    if (chat_truthy(properties)) {
        if (!json_is_object(properties))
            return g4_fail(c->err, G4_EINPUT, "%s: %s: properties is not an object", c->file,
                           c->where);
        chat_puts(&c->out, "properties:{");
        G4_TRY(put_parameters(c, properties, 0));
        chat_puts(&c->out, "},");
    }
    if (chat_truthy(required)) {
        G4_TRY(put_required(c, required));
        chat_puts(&c->out, ",");
    }
    return chat_truthy(get(params, "type")) ? put_type(c, get(params, "type")) : G4_OK;
}

/* The response a tool declares: only objects get a type, and the brace with it. */
static g4_status put_function_response(chat_ctx *c, json_t *response)
{
    json_t *type = get(response, "type");
    chat_puts(&c->out, ",response:{");
    if (chat_truthy(get(response, "description"))) {
        chat_puts(&c->out, "description:");
        put_quoted(c, get(response, "description"));
        chat_puts(&c->out, ",");
    }
    if (json_is_string(type) && json_string_length(type) == 6) {
        chat_buf kind = { NULL, 0, 0, 0 };
        g4_status s = chat_upper(c, &kind, type);
        int object = s == G4_OK && kind.data && !strcmp(kind.data, "OBJECT");
        if (s == G4_OK && kind.failed) s = g4_nomem(c->err, c->file);
        free(kind.data);
        G4_TRY(s);
        if (object) return put_type(c, type);
    }
    return G4_OK;
}

/* format_function_declaration */
g4_status chat_declaration(chat_ctx *c, json_t *tool)
{
    json_t *function = get(tool, "function"), *params = get(function, "parameters");
    chat_puts(&c->out, "<|tool>declaration:");
    chat_str(&c->out, get(function, "name"));
    chat_puts(&c->out, "{description:");
    put_quoted(c, get(function, "description"));
    if (chat_truthy(params)) G4_TRY(put_function_parameters(c, params));
    if (get(function, "response")) G4_TRY(put_function_response(c, get(function, "response")));
    chat_puts(&c->out, "}<tool|>");
    return G4_OK;
}

/* format_tool_response_block */
g4_status chat_tool_response(chat_ctx *c, const char *name, json_t *response)
{
    chat_puts(&c->out, "<|tool_response>response:");
    chat_puts(&c->out, name);
    chat_puts(&c->out, json_is_object(response) ? "{" : "{value:");
    if (json_is_object(response)) G4_TRY(chat_members(c, response));
    else G4_TRY(chat_argument(c, response, 0));
    chat_puts(&c->out, "}<tool_response|>");
    return G4_OK;
}
