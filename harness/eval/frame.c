/* SPDX-License-Identifier: Apache-2.0
 * Prompts as lm-eval 0.4.13 puts them together (api/task.py: fewshot_context): a system text
 * with the task's description, examples, the question; as one text, or as the turns of a chat
 * template. */
#include "harness/eval/frame.h"
#include "harness/eval/pystr.h"

#include "harness/request.h"

#include <stdlib.h>
#include <string.h>

static const char between[] = "\n\n";        /* fewshot_delimiter */

g4_status g4_frame_choose(g4_eval_frame *f, const g4_options *o, g4_err *err)
{
    *f = (g4_eval_frame){ .turns = o->chat_template, .system = o->system,
                          .multiturn = o->fewshot_as_multiturn != 0 };
    if (!f->turns && (o->thinking >= 0 || o->fewshot_as_multiturn >= 0))
        return g4_fail(err, G4_EINPUT, "%s: goes with --chat-template",
                       o->thinking >= 0 ? "--thinking" : "--fewshot-as-multiturn");
    f->chat = g4_chat_defaults();
    f->chat.thinking = o->thinking;
    return f->turns ? g4_chat_detect_dir(&f->chat, o->model, err) : G4_OK;
}

json_t *g4_frame_json(const g4_eval_frame *f)
{
    return json_pack("{s:b, s:b, s:s?, s:i, s:i, s:b}", "turns", f->turns, "multiturn",
                     f->turns && f->multiturn, "system", f->system, "thinking", f->chat.thinking,
                     "edition", (int)f->chat.edition, "empty_thought", f->chat.empty_thought);
}

int g4_frame_read(g4_eval_frame *f, const json_t *v)
{
    int edition;
    json_t *system;
    *f = (g4_eval_frame){ .chat = g4_chat_defaults() };
    if (json_unpack((json_t *)v, "{s:b, s:b, s:o, s:i, s:i, s:b}", "turns", &f->turns,
                    "multiturn", &f->multiturn, "system", &system, "thinking", &f->chat.thinking,
                    "edition", &edition, "empty_thought", &f->chat.empty_thought) != 0 ||
        (!json_is_null(system) && !json_is_string(system)) || edition < G4_CHAT_APRIL ||
        edition > G4_CHAT_JULY)
        return 0;
    f->system = json_string_value(system);
    f->chat.edition = (g4_chat_edition)edition;
    return 1;
}

static int blank_at_end(const char *text)
{
    size_t n = strlen(text), step = 1, at = n;
    while (at && ((unsigned char)text[--at] & 0xc0) == 0x80) { }
    return n && g4_py_space(text + at, n - at, &step);
}

/* lm-eval's maybe_delimit(system, description, "\n\n"); NULL: neither is there. */
static g4_status head(const g4_eval *e, const char *description, const char **text, g4_arena *a,
                      g4_err *err)
{
    const char *own = e->frame.system, *other = description;
    size_t step;
    *text = NULL;
    if (own && !*own) own = NULL;
    if (other && !*other) other = NULL;
    if (!own && !other) return G4_OK;
    int apart = own && other && !blank_at_end(own) && !g4_py_space(other, strlen(other), &step);
    *text = g4_arena_printf(a, "%s%s%s", own ? own : "", apart ? between : "", other ? other : "");
    return *text ? G4_OK : g4_nomem(err, "prompts");
}

/* Examples and the question as one text. */
static const char *flat(const g4_before *b, const char *question, g4_arena *a)
{
    g4_buffer all = { 0 };
    for (size_t i = 0; i < b->count; i++) {
        g4_py_put(&all, b->shots[i].question);
        g4_py_put(&all, " ");
        g4_py_put(&all, b->shots[i].answer);
        g4_py_put(&all, between);
    }
    g4_py_put(&all, question);
    const char *text = all.failed ? NULL : g4_arena_strndup(a, all.data, all.size);
    free(all.data);
    return text;
}

static int say(json_t *turns, const char *role, const char *text)
{
    return text && json_array_append_new(turns, json_pack("{s:s, s:s}", "role", role, "content",
                                                          text)) == 0;
}

/* The conversation: examples as turns of their own, or within the question's. */
static json_t *conversation(const g4_eval *e, const g4_before *b, const char *system,
                            const char *question, g4_arena *a)
{
    json_t *turns = json_array();
    int ok = turns && (!system || say(turns, "system", system));
    for (size_t i = 0; ok && e->frame.multiturn && i < b->count; i++)
        ok = say(turns, "user", b->shots[i].question) && say(turns, "assistant",
                                                             b->shots[i].answer);
    if (ok) ok = say(turns, "user", e->frame.multiturn ? question : flat(b, question, a));
    if (ok) return turns;
    json_decref(turns);
    return NULL;
}

static g4_status render(const g4_eval *e, const json_t *turns, const char **text, g4_arena *a,
                        g4_err *err)
{
    static const char name[] = "--chat-template";
    char *json = turns ? json_dumps(turns, JSON_COMPACT) : NULL;
    g4_chat *chat = NULL;
    g4_chat_text out = { 0 };
    g4_status s = json ? g4_chat_parse(&chat, name, json, strlen(json), err) : g4_nomem(err, name);
    if (s == G4_OK) s = g4_chat_write(&out, chat, &e->frame.chat, name, err);
    if (s == G4_OK && !(*text = g4_arena_strndup(a, out.text, out.len))) s = g4_nomem(err, name);
    g4_chat_text_free(&out);
    g4_chat_free(chat);
    free(json);
    return s;
}

g4_status g4_frame_text(g4_eval *e, const g4_before *b, const char *question, const char **text,
                        g4_err *err)
{
    g4_arena own = { NULL };
    const char *system;
    g4_status s = head(e, b->description, &system, &own, err);
    if (s == G4_OK && e->frame.turns) {
        json_t *turns = conversation(e, b, system, question, &own);
        s = render(e, turns, text, &e->arena, err);
        json_decref(turns);
    } else if (s == G4_OK) {
        const char *rest = flat(b, question, &own);
        *text = rest ? g4_arena_printf(&e->arena, "%s%s", system ? system : "", rest) : NULL;
        if (!*text) s = g4_nomem(err, "prompts");
    }
    g4_arena_free(&own);
    return s;
}

const char *g4_frame_choice(const g4_eval *e, g4_arena *a, const char *choice)
{
    return g4_arena_printf(a, "%s%s", e->frame.turns ? "" : " ", choice);
}
