/* SPDX-License-Identifier: Apache-2.0
 * Conversations: messages.json -> the prompt text that Gemma 4's own chat
 * template gives, byte for byte what Jinja2 renders as Transformers sets it up;
 * and the model's answer taken apart again.  No template language: the template
 * is written out in C and compared with Jinja2 by golden/check_chat.py.
 *
 * Layout (OpenAI's): an array of messages, or {"messages": [...], "tools": [...]}.
 *   role      system, developer, user, assistant (or model), tool
 *   content   string, null, or parts {"type": "text" | "image" | "audio" | "video"};
 *             image_url, audio_url, video_url mean the same
 *   source of a part: "path", "url", "image"/"audio"/"video" or image_url.url: a
 *             file name or file:// address, relative to the folder of messages.json.
 *             None given: the caller supplies the file (--image ...), in order.
 *             data:, http: and base64 are refused with a message.
 *   tool_calls, tool_call_id, tool_responses, reasoning, reasoning_content as
 *             the template reads them: arguments given as a JSON text stand in the
 *             prompt as that text (until May), or are read first (July, whose
 *             template refuses them otherwise).
 *
 * Text of messages goes in as it is, so "<turn|>" written by a user ends the
 * turn, in Transformers as here: whoever serves strangers filters first.  Only
 * media cannot be stolen so: true placeholders are known by their offsets. */
#ifndef G4_INPUT_CHAT_H
#define G4_INPUT_CHAT_H

#include "ref/base/err.h"

#include <jansson.h>
#include <stddef.h>

/* Google's template has been revised; a checkpoint carries the one it means. */
typedef enum g4_chat_edition {
    G4_CHAT_APRIL,   /* 10 April 2026: llama.cpp's google-gemma-4-31B-it.jinja */
    G4_CHAT_APRIL28, /* 28 April 2026: system text in parts, schemas unfiltered */
    G4_CHAT_MAY,     /* 18 May 2026: the first of the 12B checkpoint; media in the results
                      * of tools */
    G4_CHAT_JULY,    /* 15 July 2026: null arguments, reasoning kept, turns in balance */
} g4_chat_edition;

typedef struct g4_chat_options {
    g4_chat_edition edition;
    int thinking;                /* 1 on; 0 and -1 (not given) off */
    int add_generation_prompt;
    int empty_thought;           /* thinking off: the generation prompt ends with an empty
                                  * thought channel.  12B, 26B and 31B: 1; E2B and E4B: 0 */
    int preserve_thinking;       /* July only: reasoning of earlier turns' tool calls too */
} g4_chat_options;

/* April, thinking not given, generation prompt and empty thought on. */
g4_chat_options g4_chat_defaults(void);

/* Sets edition and empty_thought from the text of a checkpoint's template;
 * one that is none of Google's above is an error that names file. */
g4_status g4_chat_detect(g4_chat_options *o, const char *file, const char *text, size_t len,
                         g4_err *err);
/* The same from a model: a folder's chat_template.jinja, else chat_template in
 * tokenizer_config.json; a GGUF's key; else o stays as it is. */
g4_status g4_chat_detect_dir(g4_chat_options *o, const char *dir, g4_err *err);
/* And the text itself, malloc'ed; NULL: the model has none. */
g4_status g4_chat_template_dir(char **text, g4_chat_options *o, const char *dir, g4_err *err);

typedef struct g4_chat g4_chat;   /* a checked conversation */

/* tools: path of a JSON array of tools (or {"tools": [...]}) that replaces the
 * conversation's own; NULL: none. */
g4_status g4_chat_load(g4_chat **chat, const char *path, const char *tools, g4_err *err);
/* file is for messages, and its folder is where relative media paths start. */
g4_status g4_chat_parse(g4_chat **chat, const char *file, const void *json, size_t size,
                        g4_err *err);
/* {"tools":...} or [...] from memory; replaces the conversation's own. */
g4_status g4_chat_set_tools(g4_chat *chat, const char *file, const void *json, size_t size,
                            g4_err *err);
void g4_chat_free(g4_chat *chat);

typedef struct g4_chat_media {
    int kind;          /* G4_IMAGE, G4_VIDEO, G4_AUDIO (ref/input/prompt.h) */
    size_t offset;     /* of its placeholder in the text */
    size_t len;        /* of the placeholder: "<|image|>" and so on */
    char *path;        /* malloc'ed; NULL: the caller supplies the file */
} g4_chat_media;

typedef struct g4_chat_text {
    char *text;                 /* malloc'ed, NUL behind it */
    size_t len;
    g4_chat_media *media;       /* in order of offset */
    size_t media_count;
    size_t stray;               /* placeholders that came from message text: no media */
    size_t stray_offset;        /* of the first of them */
} g4_chat_text;

g4_status g4_chat_render(const g4_chat *chat, const g4_chat_options *o, g4_chat_text *out,
                         g4_err *err);
void g4_chat_text_free(g4_chat_text *t);

/* The answer, special tokens included in the text:
 *   <|channel>thought\n...<channel|>                     thinking
 *   <|tool_call>call:name{key:value,...}<tool_call|>     a call
 *     value   <|"|>text<|"|>  12  -1.5e3  true  false  null (or None, which the
 *             earlier templates write)  [value,...]  {key:value,...}
 *     key     bare, or <|"|>quoted<|"|>; blanks between tokens are allowed
 *   <turn|> or <|tool_response>                          end of the answer
 * What does not follow this is listed in errors and left out, never repaired. */
typedef struct g4_answer_error {
    size_t offset;            /* byte of the answer where it shows */
    const char *what;         /* static text */
} g4_answer_error;

typedef struct g4_answer {
    char *thinking, *text;    /* malloc'ed, NUL behind; "" if there is none */
    size_t thinking_len, text_len;
    json_t *tool_calls;       /* [{"name": ..., "arguments": {...}}, ...], owned */
    g4_answer_error *errors;  /* malloc'ed, in order of offset */
    size_t error_count;
} g4_answer;

/* in_thought: the prompt ended inside an open thought channel (July, after a
 * tool's result).  Errors: memory, or text that is not UTF-8. */
g4_status g4_answer_parse(g4_answer *a, const char *text, size_t len, int in_thought,
                          g4_err *err);
void g4_answer_free(g4_answer *a);

#endif
