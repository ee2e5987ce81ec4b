/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/reply.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PACED_DRAFT = 8 };   /* the longest round where --max-draft does not say */
enum state { TEXT, THOUGHT, CALL, ENDED };

static const char header[] = "thought\n";

/* ---- sampling and stops ---- */

void g4_sampling_choose(g4_generate_options *opt, const g4_options *o, const g4_runtime *rt,
                        int64_t tokens)
{
    const g4_generation *g = &rt->model->generation;
    g4_sampler *s = &opt->sampler;
    s->temperature = o->temperature >= 0.0 ? o->temperature : g->do_sample ? g->temperature : 0.0;
    s->top_k = o->top_k >= 0 ? o->top_k : g->top_k;
    s->top_p = o->top_p >= 0.0 ? o->top_p : g->top_p;
    s->seed = o->seed;
    s->suppress = g->suppress;
    s->suppress_count = g->suppress_count;
    opt->stop = g->eos;
    opt->stop_count = o->ignore_eos ? 0 : g->eos_count;
    opt->max_tokens = o->max_tokens >= 0 ? o->max_tokens : tokens;
    opt->max_draft = o->max_draft >= 0 ? o->max_draft : PACED_DRAFT;
}

void g4_pace_choose(g4_generate_options *opt, g4_pace *pace, const g4_options *o,
                    const g4_runtime *rt)
{
    if (!rt->draft || o->max_draft >= 0) return;
    g4_pace_init(pace, rt->model, rt->draft, opt->sampler.temperature <= 0.0);
    opt->pace = pace;
}

static void add_stop(g4_generate_options *opt, int64_t *stops, int32_t id)
{
    for (int i = 0; i < opt->stop_count; i++)
        if (stops[i] == id) return;
    if (id >= 0 && opt->stop_count < G4_MAX_STOPS) stops[opt->stop_count++] = id;
}

/* Declarations, calls or results: the model may call a tool then. */
static int speaks_of_tools(const g4_tokenizer *t, const g4_prompt *p)
{
    int32_t marks[] = { g4_tokenizer_id(t, "<|tool>"), g4_tokenizer_id(t, "<|tool_call>"),
                        g4_tokenizer_id(t, "<|tool_response>") };
    for (int64_t i = 0; i < p->n; i++)
        for (int k = 0; k < 3; k++)
            if (p->ids[i] == marks[k]) return 1;
    return 0;
}

void g4_stops_choose(g4_generate_options *opt, int64_t stops[G4_MAX_STOPS], const g4_options *o,
                     const g4_tokenizer *t, const g4_prompt *p)
{
    if (o->ignore_eos) return;
    if (opt->stop_count) memcpy(stops, opt->stop, (size_t)opt->stop_count * sizeof *stops);
    opt->stop = stops;
    add_stop(opt, stops, g4_tokenizer_id(t, "<turn|>"));
    if (speaks_of_tools(t, p)) add_stop(opt, stops, g4_tokenizer_id(t, "<|tool_response>"));
}

int g4_reply_in_thought(const char *prompt_text)
{
    static const char open[] = "<|channel>thought\n";
    size_t n = strlen(prompt_text), k = strlen(open);
    return n >= k && strcmp(prompt_text + n - k, open) == 0;
}

/* ---- the answer, token by token ---- */

void g4_reply_init(g4_reply *r, const g4_tokenizer *t, FILE *out, int in_thought)
{
    const char *term = getenv("TERM");
    *r = (g4_reply){ .t = t, .out = out, .in_thought = in_thought,
                     .state = in_thought ? THOUGHT : TEXT };
    r->header = in_thought ? strlen(header) : 0;
    r->terminal = out && isatty(fileno(out));
    r->colour = r->terminal && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
    g4_detok_init(&r->detok, t, 0);
}

g4_status g4_reply_append(g4_reply_text *b, const char *text, size_t len, g4_err *err)
{
    if (len >= b->capacity - b->len) {
        if (len > SIZE_MAX / 4 - b->len) return g4_nomem(err, "text");
        size_t want = 2 * (b->len + len) + 256;
        char *p = realloc(b->data, want);
        if (!p) return g4_nomem(err, "text");
        b->data = p;
        b->capacity = want;
    }
    memcpy(b->data + b->len, text, len);
    b->len += len;
    b->data[b->len] = 0;
    return G4_OK;
}

/* What a terminal would obey is spelled out: C0 but tab and newline, DEL, C1.
 * text is whole UTF-8 characters. */
static void put_safe(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        int c1 = c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] < 0xa0;
        if ((c >= 0x20 && c != 0x7f && !c1) || c == '\n' || c == '\t') {
            putc(c, out);
            continue;
        }
        fprintf(out, "\\x%02x", c);
        if (c1) fprintf(out, "\\x%02x", (unsigned char)text[++i]);
    }
}

static void dim(g4_reply *r, int on)
{
    if (!r->colour || r->dimmed == on) return;
    fputs(on ? "\033[2m" : "\033[0m", r->out);
    r->dimmed = on;
}

static void put(g4_reply *r, const char *text, size_t len)
{
    if (!r->out || len == 0) return;
    dim(r, r->state == THOUGHT);
    if (r->terminal) put_safe(r->out, text, len);
    else fwrite(text, 1, len, r->out);
    r->open_line = text[len - 1] != '\n';
}

/* A thought without the "thought\n" in front; what turns out to be something
 * else is shown after all. */
static g4_status put_thought(g4_reply *r, const char *text, size_t len, g4_err *err)
{
    size_t size = strlen(header), at = 0, shown;
    while (r->header < size && at < len && text[at] == header[r->header]) {
        r->header++;
        at++;
    }
    if (at == len) return G4_OK;
    shown = r->header < size ? r->header : 0;
    r->header = size;
    put(r, header, shown);
    put(r, text + at, len - at);
    G4_TRY(g4_reply_append(&r->thought, header, shown, err));
    return g4_reply_append(&r->thought, text + at, len - at, err);
}

static g4_status take(g4_reply *r, const char *text, size_t len, g4_err *err)
{
    if (r->state == THOUGHT) G4_TRY(put_thought(r, text, len, err));
    if (r->state == TEXT || r->state == ENDED) put(r, text, len);
    if (r->state == TEXT) G4_TRY(g4_reply_append(&r->said, text, len, err));
    if (!r->out) return G4_OK;
    return fflush(r->out) == 0 && !ferror(r->out)
               ? G4_OK : g4_fail(err, G4_EIO, "standard output: cannot write");
}

static int is(const g4_reply *r, int32_t id, const char *token)
{
    return g4_tokenizer_id(r->t, token) == id;
}

/* What a special token changes; g4_answer_parse reads the same way. */
static void turn_to(g4_reply *r, int32_t id)
{
    int state = r->state;
    if (state == TEXT && is(r, id, "<|channel>")) {
        r->state = THOUGHT;
        r->header = 0;
    } else if (state == TEXT && is(r, id, "<|tool_call>")) {
        r->state = CALL;
    } else if ((state == THOUGHT && is(r, id, "<channel|>")) ||
               (state == CALL && is(r, id, "<tool_call|>"))) {
        r->state = TEXT;
    } else if (state == TEXT && (is(r, id, "<turn|>") || is(r, id, "<|tool_response>") ||
                                 is(r, id, "<eos>"))) {
        r->state = ENDED;
    }
    if (state == THOUGHT && r->state == TEXT && r->open_line) put(r, "\n", 1);
}

g4_status g4_reply_push(g4_reply *r, int32_t id, g4_err *err)
{
    const char *text;
    size_t len, own;
    G4_TRY(g4_detok_push(&r->detok, id, &text, &len, err));
    G4_TRY(g4_reply_append(&r->raw, text, len, err));
    if (!g4_tokenizer_is_special(r->t, id)) return take(r, text, len, err);
    /* A run of bytes that it ended may stand in front of the token itself. */
    const char *name = g4_tokenizer_text(r->t, id, &own);
    if (name && len >= own && memcmp(text + len - own, name, own) == 0) len -= own;
    G4_TRY(take(r, text, len, err));
    turn_to(r, id);
    return G4_OK;
}

static g4_status print_calls(const g4_reply *r, g4_err *err)
{
    size_t i;
    json_t *call;
    json_array_foreach(r->answer.tool_calls, i, call) {
        char *line = json_dumps(call, JSON_COMPACT | (r->terminal ? JSON_ENSURE_ASCII : 0));
        if (!line) return g4_nomem(err, "JSON");
        fprintf(r->out, "%s\n", line);
        free(line);
    }
    return fflush(r->out) == 0 && !ferror(r->out)
               ? G4_OK : g4_fail(err, G4_EIO, "standard output: cannot write");
}

g4_status g4_reply_end(g4_reply *r, g4_err *err)
{
    const char *text;
    size_t len;
    G4_TRY(g4_detok_end(&r->detok, &text, &len, err));
    G4_TRY(g4_reply_append(&r->raw, text, len, err));
    G4_TRY(take(r, text, len, err));
    if (r->out) {
        dim(r, 0);
        if (r->open_line || r->said.len == 0) putc('\n', r->out);
        r->open_line = 0;
    }
    G4_TRY(g4_reply_append(&r->said, "", 0, err));
    G4_TRY(g4_answer_parse(&r->answer, r->raw.data, r->raw.len, r->in_thought, err));
    return r->out ? print_calls(r, err) : G4_OK;
}

void g4_reply_report(const g4_reply *r)
{
    for (size_t i = 0; i < r->answer.error_count; i++)
        fprintf(stderr, "answer, byte %zu: %s\n", r->answer.errors[i].offset,
                r->answer.errors[i].what);
}

json_t *g4_reply_message(const g4_reply *r)
{
    const g4_answer *a = &r->answer;
    json_t *errors = json_array();
    int bad = !errors;
    for (size_t i = 0; i < a->error_count && !bad; i++)
        bad = json_array_append_new(errors, json_pack("{s:I, s:s}", "offset",
                                                      (json_int_t)a->errors[i].offset, "what",
                                                      a->errors[i].what)) != 0;
    json_t *thinking = a->thinking_len ? json_stringn(a->thinking, a->thinking_len) : json_null();
    json_t *message = json_object();
    bad = json_object_set_new(message, "role", json_string("assistant")) != 0 || bad;
    bad = json_object_set_new(message, "content", json_stringn(a->text, a->text_len)) != 0 || bad;
    bad = json_object_set_new(message, "reasoning_content", thinking) != 0 || bad;
    bad = json_object_set(message, "tool_calls", a->tool_calls) != 0 || bad;
    bad = json_object_set_new(message, "errors", errors) != 0 || bad;
    if (!bad) return message;
    json_decref(message);
    return NULL;
}

void g4_reply_free(g4_reply *r)
{
    if (r->t) g4_detok_free(&r->detok);
    g4_answer_free(&r->answer);
    free(r->raw.data);
    free(r->said.data);
    free(r->thought.data);
    memset(r, 0, sizeof *r);
}
