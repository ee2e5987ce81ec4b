/* SPDX-License-Identifier: Apache-2.0
 * The terminal itself edits the line.  A fault in a turn or a command is one line,
 * and the talk goes on; what ends it is Ctrl-D, /quit, or Ctrl-C twice. */
#include "harness/terminal.h"

#include "harness/chat_session.h"
#include "harness/text.h"
#include "ref/input/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* CUT: what Linux keeps of a line that the terminal itself edits (N_TTY_BUF_SIZE,
 * less the line's end); it drops the rest without a word. */
enum { MAX_MESSAGE = 16 << 20, CUT = 4095 };

/* A message that starts with this goes on to a line that ends with it: pasted text. */
#define FENCE "\"\"\""

typedef enum event { LINE, END, INTERRUPTED, BAD } event;

typedef struct talk {
    const g4_options *o;
    g4_chat_session s;
    json_t *attached;            /* parts for the next message */
    char in[4096];               /* read, not used yet */
    size_t in_at, in_size;
    char *line;                  /* malloc'ed; a message as it was typed */
    size_t len, capacity;
    int fenced, cut;             /* the message: between fences; a line of it was cut */
    int ended;                   /* end of input, /quit, or Ctrl-C twice */
    int strikes;                 /* Ctrl-C since the last line */
    int wake[2];                 /* what the signal handler writes to */
    struct sigaction old;
} talk;

/* A signal handler has no argument: these two are the only way to it. */
static volatile sig_atomic_t interrupted;
static volatile int wake_fd = -1;

static void on_interrupt(int signal)
{
    int saved = errno;
    (void)signal;
    interrupted = 1;
    (void)!write(wake_fd, "", 1);
    errno = saved;
}

static g4_status install(talk *t, g4_err *err)
{
    struct sigaction on = { .sa_handler = on_interrupt };
    if (pipe2(t->wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        t->wake[0] = t->wake[1] = -1;
        return g4_fail(err, G4_EIO, "pipe: %s", strerror(errno));
    }
    interrupted = 0;
    wake_fd = t->wake[1];
    sigemptyset(&on.sa_mask);
    sigaction(SIGINT, &on, &t->old);
    return G4_OK;
}

static void uninstall(talk *t)
{
    if (t->wake[0] < 0) return;
    sigaction(SIGINT, &t->old, NULL);
    wake_fd = -1;
    close(t->wake[0]);
    close(t->wake[1]);
}

/* Was there a Ctrl-C since the last call? */
static int take_interrupt(talk *t)
{
    char bytes[64];
    while (read(t->wake[0], bytes, sizeof bytes) > 0) continue;
    int was = interrupted;
    interrupted = 0;
    return was;
}

/* One line on standard error, safe for a terminal. */
__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
    char text[1024], safe[4 * sizeof text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr, "%s\n", g4_text_safe(safe, sizeof safe, text));
}

static void fault(const g4_err *err)
{
    note("error: %s", err->msg);
}

/* ---- input ---- */

/* Waits for input or a Ctrl-C, and reads.  LINE: there is something, END, ... */
static event fill(talk *t, g4_err *err)
{
    struct pollfd p[2] = { { STDIN_FILENO, POLLIN, 0 }, { t->wake[0], POLLIN, 0 } };
    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR) break;
        if (take_interrupt(t)) return INTERRUPTED;
        if (!p[0].revents) continue;
        ssize_t n = read(STDIN_FILENO, t->in, sizeof t->in);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n == 0 || (n < 0 && errno == EIO)) return END;   /* EIO: the terminal is gone */
        if (n < 0) break;
        t->in_at = 0;
        t->in_size = (size_t)n;
        return LINE;
    }
    g4_fail(err, G4_EIO, "standard input: cannot read: %s", strerror(errno));
    return BAD;
}

static g4_status keep(talk *t, const char *text, size_t n, g4_err *err)
{
    if (t->len > MAX_MESSAGE) return G4_OK;   /* too long already: only its end matters */
    if (n >= t->capacity - t->len) {
        size_t want = 2 * (t->len + n) + 256;
        char *p = realloc(t->line, want);
        if (!p) return g4_nomem(err, "message");
        t->line = p;
        t->capacity = want;
    }
    memcpy(t->line + t->len, text, n);
    t->len += n;
    t->line[t->len] = 0;
    return G4_OK;
}

/* Adds the next line, without its end, to t->line. */
static event read_line(talk *t, g4_err *err)
{
    size_t before = t->len;
    for (;;) {
        if (t->in_at == t->in_size) {
            event e = fill(t, err);
            /* Ctrl-D behind text only hands it over; the next one sends it. */
            if (e == END && t->len > before) return LINE;
            if (e != LINE) return e;
        }
        const char *text = t->in + t->in_at, *end;
        size_t n = t->in_size - t->in_at;
        end = memchr(text, '\n', n);
        if (end) n = (size_t)(end - text);
        t->in_at += n + (end != NULL);
        if (keep(t, text, n, err) != G4_OK) return BAD;
        if (!end) continue;
        struct termios mode;
        if (t->len - before == CUT && tcgetattr(STDIN_FILENO, &mode) == 0)
            t->cut |= (mode.c_lflag & ICANON) != 0;
        return LINE;
    }
}

/* Does the message end in a fence that is not its first? */
static int closed(const talk *t)
{
    size_t n = strlen(FENCE);
    return t->len >= 2 * n && memcmp(t->line + t->len - n, FENCE, n) == 0;
}

/* A message: lines, joined where one ends in a backslash, or from fence to fence. */
static event read_message(talk *t, g4_err *err)
{
    const char *prompt = "> ";
    t->len = 0;
    t->fenced = t->cut = 0;
    for (;;) {
        fflush(stdout);
        fputs(prompt, stderr);
        event e = read_line(t, err);
        if (e == END && t->len > 0) return LINE;
        if (e != LINE || t->len == 0) return e;
        t->fenced |= strncmp(t->line, FENCE, strlen(FENCE)) == 0;
        if (t->fenced ? closed(t) : t->line[t->len - 1] != '\\') return LINE;
        if (!t->fenced) t->len--;
        if (keep(t, "\n", 1, err) != G4_OK) return BAD;
        prompt = ". ";
    }
}

/* A message must be text; the JSON of a conversation holds nothing else. */
static int usable(const talk *t)
{
    size_t at = g4_utf8_check(t->line, t->len);
    if (t->len > MAX_MESSAGE) note("error: a message of more than %d bytes", (int)MAX_MESSAGE);
    else if (memchr(t->line, 0, t->len)) note("error: the message holds a NUL");
    else if (t->cut)
        note("error: the terminal keeps %d bytes of a line and dropped the rest; end lines with \\ "
             "or use --chat FILE", (int)CUT);
    else if (at < t->len) note("error: the message is not UTF-8 at byte %zu", at);
    else return 1;
    return 0;
}

/* ---- commands ---- */

static void attach(talk *t, int kind, const char *type, const char *path)
{
    g4_err err = { G4_OK, "" };
    g4_arena arena = { NULL };
    const char *warning = NULL;
    int64_t tokens = 0;
    /* The saved conversation may come to lie in another folder. */
    char *full = realpath(path, NULL);
    g4_media media = { kind, full };
    g4_status s = full ? g4_chat_session_try(&t->s, &media, &tokens, &arena, &warning, &err)
                       : g4_fail(&err, G4_EINPUT, "%s: %s", path, strerror(errno));
    if (s == G4_OK) {
        json_t *part = json_pack("{s:s, s:s}", "type", type, "path", full);
        if (!part) s = g4_fail(&err, G4_EINPUT, "%s: its full name is not UTF-8", path);
        else if (json_array_append_new(t->attached, part) != 0) s = g4_nomem(&err, path);
    }
    if (warning) note("warning: %s", warning);
    if (s != G4_OK) fault(&err);
    else note("attached to the next message: %s, %lld tokens", path, (long long)tokens);
    g4_arena_free(&arena);
    free(full);
}

static void do_image(talk *t, const char *arg)
{
    attach(t, G4_IMAGE, "image", arg);
}

static void do_audio(talk *t, const char *arg)
{
    attach(t, G4_AUDIO, "audio", arg);
}

static void do_video(talk *t, const char *arg)
{
    attach(t, G4_VIDEO, "video", arg);
}

static void do_system(talk *t, const char *arg)
{
    g4_err err;
    if (g4_chat_session_system(&t->s, arg, &err) != G4_OK) fault(&err);
    else note(*arg ? "system text set" : "no system text");
}

static void do_thinking(talk *t, const char *arg)
{
    int on = strcmp(arg, "on") == 0;
    if (!on && strcmp(arg, "off") != 0) {
        note("error: /thinking takes on or off, not \"%.40s\"", arg);
        return;
    }
    t->s.chat.thinking = on;
    note("thinking is %s", arg);
}

static void do_reset(talk *t, const char *arg)
{
    (void)arg;
    g4_chat_session_reset(&t->s);
    json_array_clear(t->attached);
    note("a new conversation");
}

static void do_save(talk *t, const char *arg)
{
    g4_err err;
    if (json_array_size(t->s.messages) == 0) note("error: nothing to save yet");
    else if (g4_chat_session_save(&t->s, arg, &err) != G4_OK) fault(&err);
    else note("saved: %zu messages in %s", json_array_size(t->s.messages), arg);
}

static void do_quit(talk *t, const char *arg)
{
    (void)arg;
    t->ended = 1;
}

static void do_help(talk *t, const char *arg);

enum { NONE, TEXT, FILE_NAME };   /* what a command takes */

static const struct command {
    const char *name, *value;
    int takes;
    void (*run)(talk *t, const char *arg);
    const char *help;
} commands[] = {
    { "/image", "FILE", FILE_NAME, do_image, "a picture for the next message" },
    { "/audio", "FILE", FILE_NAME, do_audio, "a sound for the next message" },
    { "/video", "FILE", FILE_NAME, do_video, "a video, or a folder of frames, likewise" },
    { "/system", "TEXT", TEXT, do_system, "what the system turn says; empty: none" },
    { "/thinking", "on|off", FILE_NAME, do_thinking, "let the model think before it answers" },
    { "/reset", "", NONE, do_reset, "forget the conversation (the system text stays)" },
    { "/save", "FILE", FILE_NAME, do_save, "write messages.json, for --chat" },
    { "/help", "", NONE, do_help, "this list" },
    { "/quit", "", NONE, do_quit, "end" },
};

static void do_help(talk *t, const char *arg)
{
    (void)t;
    (void)arg;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *c = &commands[i];
        note("%-10s%-8s%s", c->name, c->value, c->help);
    }
    note("A line that ends in \\ goes on in the next; // in front sends text that starts with /.");
    note("Pasted lines are one message between " FENCE " and " FENCE ".");
    note("Ctrl-C stops an answer; Ctrl-C twice, or Ctrl-D, ends.");
}

/* line starts with '/' and is writable. */
static void obey(talk *t, char *line)
{
    static const char blanks[] = " \t\r";
    size_t n = strcspn(line, " \t\r\n"), end = strlen(line);
    const struct command *c = NULL;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == n && memcmp(line, commands[i].name, n) == 0)
            c = &commands[i];
    while (end > n && strchr(blanks, line[end - 1])) line[--end] = 0;
    char *arg = line + n + strspn(line + n, blanks);
    if (!c) note("error: %.*s: no such command; /help lists them", n < 40 ? (int)n : 40, line);
    else if (c->takes == FILE_NAME && !*arg) note("error: %s %s is missing", c->name, c->value);
    else if (c->takes == NONE && *arg) note("error: %s takes nothing behind it", c->name);
    else c->run(t, arg);
}

/* ---- turns ---- */

static json_t *user_message(talk *t, const char *text)
{
    if (json_array_size(t->attached) == 0)
        return json_pack("{s:s, s:s}", "role", "user", "content", text);
    json_t *part = json_pack("{s:s, s:s}", "type", "text", "text", text);
    json_t *parts = json_copy(t->attached);
    json_array_clear(t->attached);
    if (json_array_append_new(parts, part) != 0) {
        json_decref(parts);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "role", "user", "content", parts);
}

static void report_turn(const talk *t, const g4_turn *u)
{
    const g4_engine_plan *plan = &t->s.line.engine->plan;
    if (u->end == G4_TURN_INTERRUPTED)
        note(u->remembered ? "(stopped)" : "(stopped before an answer: the message is forgotten)");
    if (u->end == G4_TURN_LENGTH)
        note("(cut at %lld tokens: --max-tokens)", (long long)t->s.opt.max_tokens);
    if (u->end == G4_TURN_FULL)
        note("(cut: the context of %lld tokens is full; /reset starts anew, --ctx N makes room)",
             (long long)plan->ctx);
    note("[%lld prompt tokens, %lld of them kept; %lld tokens in %.2f s]", (long long)u->prompt,
         (long long)u->kept, (long long)u->made, u->seconds);
}

static g4_status say(talk *t, const char *text, g4_err *err)
{
    g4_turn turn;
    g4_err local = { G4_OK, "" };
    g4_status s = g4_chat_session_say(&t->s, user_message(t, text), stdout, &turn, &local);
    t->strikes = take_interrupt(t);
    if (ferror(stdout)) return g4_fail(err, G4_EIO, "standard output: cannot write");
    if (s != G4_OK) fault(&local);
    else report_turn(t, &turn);
    return G4_OK;
}

/* The first Ctrl-C at the prompt drops the line; one more, without a line
 * between, ends.  One that stopped an answer counts. */
static void strike(talk *t)
{
    fputc('\n', stderr);
    if (++t->strikes > 1) t->ended = 1;
    else note("(Ctrl-C once more, Ctrl-D or /quit ends)");
}

static g4_status one_line(talk *t, g4_err *err)
{
    char *line = t->line;
    t->strikes = 0;
    if (t->len == 0 || !usable(t)) return G4_OK;
    if (t->line[t->len - 1] == '\r') t->line[--t->len] = 0;
    if (t->fenced) {
        if (closed(t)) t->line[t->len -= strlen(FENCE)] = 0;
        line += strlen(FENCE);
    } else if (line[0] == '/' && line[1] == '/') {
        line++;
    } else if (line[0] == '/') {
        obey(t, line);
        return G4_OK;
    }
    return line[strspn(line, " \t\r\n")] ? say(t, line, err) : G4_OK;
}

static g4_status converse(talk *t, g4_err *err)
{
    note("%s, a context of %lld tokens.  /help lists the commands, Ctrl-D ends.", t->o->model,
         (long long)t->s.line.engine->plan.ctx);
    while (!t->ended) {
        event e = read_message(t, err);
        if (e == BAD) return err->code;
        if (e == END) break;
        if (e == INTERRUPTED) strike(t);
        else G4_TRY(one_line(t, err));
    }
    if (!t->ended) fputc('\n', stderr);   /* the prompt's line is open */
    return G4_OK;
}

/* Media of the command line go with the first message. */
static g4_status start(talk *t, g4_err *err)
{
    const g4_options *o = t->o;
    if (o->prompt || o->ids || o->inputs)
        return g4_fail(err, G4_EINPUT, "--prompt, --chat, --ids and --inputs exclude each other");
    if (o->json)
        return g4_fail(err, G4_EINPUT, "--json: not in a terminal; --chat FILE gives an object");
    t->attached = json_array();
    if (!t->attached) return g4_nomem(err, "chat");
    G4_TRY(g4_chat_session_open(&t->s, o, &interrupted, err));
    for (int i = 0; i < o->media_count; i++) {
        const g4_media_file *m = &o->media[i];
        if (m->kind == G4_MEDIA_IMAGE) do_image(t, m->path);
        else if (m->kind == G4_MEDIA_AUDIO) do_audio(t, m->path);
        else do_video(t, m->path);
    }
    G4_TRY(install(t, err));
    return converse(t, err);
}

int g4_terminal(const g4_options *o, g4_err *err)
{
    talk *t = calloc(1, sizeof *t);
    if (!t) {
        g4_nomem(err, "chat");
        return 2;
    }
    t->o = o;
    t->wake[0] = t->wake[1] = -1;
    g4_status s = start(t, err);
    uninstall(t);
    g4_chat_session_close(&t->s);
    json_decref(t->attached);
    free(t->line);
    free(t);
    return s == G4_OK ? 0 : 2;
}
