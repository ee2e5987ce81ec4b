/* SPDX-License-Identifier: Apache-2.0
 * Inside the chat renderer (ref/input/chat*.c), nobody else's business.
 * The output buffer remembers a failed allocation instead of returning it: the
 * code then reads like the template, and g4_chat_render asks once at the end. */
#ifndef G4_INPUT_CHAT_IMPL_H
#define G4_INPUT_CHAT_IMPL_H

#include "ref/base/arena.h"
#include "ref/base/json.h"
#include "ref/input/chat.h"

enum { CHAT_WHERE = 160 };   /* bytes of "messages[12].tool_calls[3]" and the like */

struct g4_chat {
    char *file, *dir;           /* malloc'ed: messages.json, its folder with the last '/' */
    char *tools_file;           /* malloc'ed: where tools came from */
    json_t *root;               /* owned */
    json_t *messages;           /* borrowed from root: array, checked */
    json_t *tools_root;         /* owned; NULL: tools are root's */
    json_t *tools;              /* borrowed: array, checked, or NULL */
};

typedef struct chat_buf {
    char *data;                 /* malloc'ed */
    size_t len, capacity;
    int failed;                 /* an allocation failed; everything after is lost */
} chat_buf;

typedef struct chat_ctx {
    const g4_chat *chat;
    const g4_chat_options *o;
    chat_buf out;
    g4_arena arena;             /* sorted member lists */
    g4_chat_media *media;       /* malloc'ed */
    size_t media_count, media_capacity;
    const char *file;           /* for messages: where the part being rendered came from */
    char where[CHAT_WHERE];
    g4_err *err;
} chat_ctx;

typedef struct chat_member {
    const char *key, *lower;
    json_t *value;
    size_t index;
} chat_member;

/* chat_str.c: Python's strings, numbers and dictsort. */
void chat_put(chat_buf *b, const char *s, size_t n);
void chat_puts(chat_buf *b, const char *s);
/* str.strip(): moves *s and *n past Unicode white space at both ends. */
void chat_strip(const char **s, size_t *n);
/* str(value); NULL (jinja's undefined) is "". */
void chat_str(chat_buf *b, const json_t *value);
/* str(value).upper(); letters beyond ASCII are an error of the part at ctx->where. */
g4_status chat_upper(chat_ctx *c, chat_buf *b, const json_t *value);
/* repr(float), at most 32 bytes and a NUL. */
void chat_float(char *text, double d);
/* Members sorted as `dictsort` does: by str.lower() of the key, else in file order. */
g4_status chat_dictsort(chat_ctx *c, json_t *object, chat_member **list, size_t *n);
int chat_truthy(const json_t *value);

/* chat_tools.c: what the template says of tools. */
g4_status chat_argument(chat_ctx *c, json_t *value, int escape_keys);
g4_status chat_members(chat_ctx *c, json_t *object);   /* key:value,... keys bare */
g4_status chat_declaration(chat_ctx *c, json_t *tool);
g4_status chat_tool_response(chat_ctx *c, const char *name, json_t *response);

/* chat_check.c */
g4_status chat_check_messages(const g4_chat *chat, g4_err *err);
g4_status chat_check_tools(const char *file, json_t *tools, g4_err *err);
/* G4_IMAGE, G4_AUDIO, G4_VIDEO, or 0: not the type of a media part. */
int chat_media_kind(const char *type);
/* Where a media part's file is: *path is malloc'ed, or NULL where the part names
 * none.  path NULL: check only. */
g4_status chat_media_path(const g4_chat *chat, const json_t *part, const char *where,
                          char **path, g4_err *err);

#endif
