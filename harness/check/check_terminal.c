/* SPDX-License-Identifier: Apache-2.0
 * generate --chat: the talk in a terminal, driven through a pseudo-terminal, and
 * the answer taken apart.  Standard output goes to a file where answers are
 * compared; what a terminal would show (prompt, notes) comes from the pty. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/reply.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

Suite *check_terminal(void);

enum { SHOWN = 1 << 22, PATIENCE = 60000 };

static char dir[TEMPDIR_MAX], answers[TEMPDIR_MAX], saved[TEMPDIR_MAX];
static int runnable;

/* A talk: the terminal's other end, and all that it showed. */
static struct {
    int fd;
    pid_t pid;
    char *shown;
    size_t len, from;      /* from: where the last command's part begins */
} t;

static void split(char **argv, char *words)
{
    static char space[PROGRAM_WORDS][TEMPDIR_MAX];
    const program_place none = { NULL, NULL };
    program_split(words, &none, argv, space);
    argv[0] = (char *)(uintptr_t)program_path();
}

/* Runs gemma4 to its end, standard input from a file or nothing, output to a file. */
static int run(const char *command, const char *in, const char *out)
{
    char words[2048], *argv[PROGRAM_WORDS];
    ck_assert_uint_lt(strlen(command), sizeof words);
    strcpy(words, command);
    split(argv, words);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(open(in ? in : "/dev/null", O_RDONLY), 0);
        dup2(open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666), 1);
        dup2(open("/dev/null", O_WRONLY), 2);
        execv(argv[0], argv);
        _exit(PROGRAM_CANNOT_EXEC);
    }
    return program_finish(pid);
}

static char *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    char *text = malloc(1 << 20);
    ck_assert_ptr_nonnull(text);
    *len = fread(text, 1, (1 << 20) - 1, f);
    text[*len] = 0;
    fclose(f);
    return text;
}

/* Reads what the terminal shows for some time; 0: it is closed. */
static int show(int ms)
{
    struct pollfd p = { t.fd, POLLIN, 0 };
    int ready = poll(&p, 1, ms);
    if (ready < 0 && errno == EINTR) return 1;
    if (ready == 0) ck_abort_msg("no answer within %d s; shown: %s", PATIENCE / 1000,
                                 t.shown + (t.len > 2000 ? t.len - 2000 : 0));
    ck_assert_uint_lt(t.len + 4096, SHOWN);
    ssize_t n = read(t.fd, t.shown + t.len, 4096);
    if (n <= 0) return 0;
    t.len += (size_t)n;
    t.shown[t.len] = 0;
    return 1;
}

/* Waits for the prompt, or for other text. */
static void wait_for(const char *text)
{
    while (!memmem(t.shown + t.from, t.len - t.from, text, strlen(text)))
        if (!show(PATIENCE)) ck_abort_msg("ended, without '%s'; shown: %s", text, t.shown + t.from);
}

static void type(const char *keys, size_t n)
{
    t.from = t.len;
    while (n > 0) {
        struct pollfd p = { t.fd, POLLIN | POLLOUT, 0 };
        ck_assert_int_gt(poll(&p, 1, PATIENCE), 0);
        if (p.revents & POLLIN) show(0);
        if (!(p.revents & POLLOUT)) continue;
        ssize_t done = write(t.fd, keys, n > 1024 ? 1024 : n);
        ck_assert_int_gt(done, 0);
        keys += done;
        n -= (size_t)done;
    }
}

/* One line; says: what it must show before the next prompt (NULL: anything). */
static void enter(const char *line, const char *says)
{
    type(line, strlen(line));
    type("\n", 1);
    if (says) wait_for(says);
    wait_for("\n> ");
}

static int end(void)
{
    while (show(PATIENCE)) continue;
    close(t.fd);
    free(t.shown);
    return program_finish(t.pid);
}

/* Starts a talk; out NULL: standard output is the terminal, too. */
static void begin(const char *model, const char *options, const char *out)
{
    char words[2048], *argv[PROGRAM_WORDS];
    ck_assert_int_lt(snprintf(words, sizeof words, "generate --model %s --chat - %s", model,
                              options), (int)sizeof words);
    split(argv, words);
    memset(&t, 0, sizeof t);
    t.shown = calloc(SHOWN, 1);
    ck_assert_ptr_nonnull(t.shown);
    t.pid = forkpty(&t.fd, NULL, NULL, NULL);
    ck_assert_int_ge(t.pid, 0);
    if (t.pid == 0) {
        setenv("TERM", "xterm", 1);
        unsetenv("NO_COLOR");
        if (out) dup2(open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666), 1);
        execv(argv[0], argv);
        _exit(PROGRAM_CANNOT_EXEC);
    }
    wait_for("> ");
}

/* Tokens of the last turn's prompt that came from the cache. */
static long kept(void)
{
    const char *p = strstr(t.shown + t.from, " prompt tokens, ");
    ck_assert_msg(p != NULL, "%s", t.shown + t.from);
    return strtol(p + 16, NULL, 10);
}

static void setup(void)
{
    tempdir_make(dir);
    tempdir_path(answers, dir, "answers");
    tempdir_path(saved, dir, "saved.json");
    runnable = run("help", NULL, answers) != PROGRAM_CANNOT_EXEC;
    if (!runnable) check_skip("terminal", "this machine cannot execute gemma4");
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static const struct {
    const char *model, *options;
} engines[] = {
    { "golden/tiny/small/model", "--max-tokens 24" },
    { "golden/tiny/small/model", "--max-tokens 12 --draft golden/tiny/small/model/assistant" },
    { "golden/tiny/small/model", "--max-tokens 9 --kv f16 --chunk 7 --image-tokens 70" },
    { "golden/tiny/even/model", "--max-tokens 9 --kv q8_0" },
    { "golden/tiny/mini/model", "--max-tokens 30 --chunk 3 --thinking on" },
    { "golden/tiny/mini/model", "--max-tokens 20 --ctx 700 --kv f16" },
};

/* Answer number `turn` of the talk is what the whole conversation up to there gives. */
static void compare_turn(int which, json_t *messages, size_t turn, const char *talk, size_t size,
                         size_t *at)
{
    char command[1024], file[TEMPDIR_MAX], alone[TEMPDIR_MAX];
    size_t len, i;
    json_t *part = json_array(), *m;
    json_array_foreach(messages, i, m) if (i <= 2 * turn) json_array_append(part, m);
    tempdir_path(file, dir, "part.json");
    tempdir_path(alone, dir, "alone");
    ck_assert_int_eq(json_dump_file(part, file, 0), 0);
    json_decref(part);
    snprintf(command, sizeof command, "generate --model %s --temperature 0 %s --chat %s",
             engines[which].model, engines[which].options, file);
    ck_assert_int_eq(run(command, NULL, alone), 0);
    char *text = slurp(alone, &len);
    ck_assert_msg(size - *at >= len && memcmp(talk + *at, text, len) == 0,
                  "%s, answer %zu: '%s' in the talk, '%s' alone", command, turn, talk + *at, text);
    *at += len;
    free(text);
}

/* Prefix reuse is exact: text, pictures, sound, a long message. */
START_TEST(turns_as_one_shot)
{
    const char *model = engines[_i].model;
    char command[TEMPDIR_MAX + 16], line[400];
    size_t len, at = 0;
    if (!runnable) return;
    int small = strstr(model, "small") != NULL;
    snprintf(line, sizeof line, "--temperature 0 %s", engines[_i].options);
    begin(model, line, answers);
    enter("Hello there, who are you", "0 of them kept");
    enter("two\\\nlines, \\\nor three", "");
    ck_assert_int_gt(kept(), 10);
    enter(small ? "/image golden/tiny/small/image1.png" : "/image golden/tiny/mini/image1.png",
          "attached");
    enter("what is it?", NULL);
    ck_assert_int_gt(kept(), 20);
    if (small) enter("/audio golden/tiny/small/audio1.wav", "attached");
    if (small) enter("/video golden/tiny/small/video1", "attached");
    if (small) enter("and these?", NULL);
    memset(line, 'w', sizeof line - 1);
    for (size_t i = 3; i < sizeof line; i += 4 + i % 3) line[i] = ' ';
    line[sizeof line - 1] = 0;
    enter(line, NULL);
    ck_assert_int_gt(kept(), 40);
    enter("once more", NULL);
    ck_assert_int_gt(kept(), 200);
    snprintf(command, sizeof command, "/save %s", saved);
    enter(command, "saved: ");
    type("\004", 1);
    ck_assert_int_eq(end(), 0);
    char *talk = slurp(answers, &len);
    ck_assert_ptr_null(memchr(talk, 27, len));   /* a file: nothing for terminals */
    json_t *messages = json_load_file(saved, 0, NULL);
    ck_assert_uint_eq(json_array_size(messages), small ? 12 : 10);
    for (size_t turn = 0; turn < json_array_size(messages) / 2; turn++)
        compare_turn(_i, messages, turn, talk, len, &at);
    ck_assert_uint_eq(at, len);
    json_decref(messages);
    free(talk);
}
END_TEST

/* What comes after a change far back: the ring has lost it, all is prefilled anew. */
START_TEST(system_and_thinking_change)
{
    char line[1200], command[TEMPDIR_MAX + 600];
    char alone[TEMPDIR_MAX];
    size_t len, own;
    if (!runnable) return;
    const char *options = "--temperature 0 --max-tokens 8 --chunk 8 --ctx 3000";
    begin("golden/tiny/mini/model", options, answers);
    enter("/system be brief", "system text set");
    for (size_t i = 0; i < sizeof line; i++) line[i] = (char)('a' + i * i % 23);
    line[sizeof line - 1] = 0;
    enter(line, "0 of them kept");
    enter("/system be long", "system text set");
    enter("then", "0 of them kept");   /* "<bos><|turn>system\nbe " is the same, and lost */
    enter("/thinking on", "thinking is on");
    enter("now", NULL);
    snprintf(command, sizeof command, "/save %s", saved);
    enter(command, "saved: 7 messages");
    type("/quit\n", 6);
    ck_assert_int_eq(end(), 0);
    json_t *messages = json_load_file(saved, 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 0), "content")),
                     "be long");
    json_array_remove(messages, 6);
    ck_assert_int_eq(json_dump_file(messages, saved, 0), 0);
    json_decref(messages);
    tempdir_path(alone, dir, "alone");
    snprintf(command, sizeof command, "generate --model golden/tiny/mini/model %s "
             "--thinking on --chat %s", options, saved);
    ck_assert_int_eq(run(command, NULL, alone), 0);
    char *talk = slurp(answers, &len), *text = slurp(alone, &own);
    ck_assert_msg(own <= len && memcmp(talk + len - own, text, own) == 0, "%s / %s", talk, text);
    free(talk);
    free(text);
}
END_TEST

START_TEST(reset_is_a_fresh_start)
{
    size_t len;
    if (!runnable) return;
    begin("golden/tiny/small/model", "--max-tokens 20 --top-p 1 --seed 5", answers);
    enter("/image golden/tiny/small/image1.png", "attached");
    enter("Tell me", "0 of them kept");
    enter("/audio golden/tiny/small/audio2.wav", "attached");
    enter("/reset", "a new conversation");
    enter("/image golden/tiny/small/image1.png", "attached");
    enter("Tell me", "0 of them kept");
    enter("/quit now", "/quit takes nothing");
    type("/quit\n", 6);
    ck_assert_int_eq(end(), 0);
    char *talk = slurp(answers, &len);
    ck_assert_uint_gt(len, 10);
    ck_assert_uint_eq(len % 2, 0);
    ck_assert_int_eq(memcmp(talk, talk + len / 2, len / 2), 0);
    free(talk);
}
END_TEST

static const struct {
    const char *line, *says;
} wrong[] = {
    { "/frobnicate", "error: /frobnicate: no such command" },
    { "/", "error: /: no such command" },
    { "/image", "error: /image FILE is missing" },
    { "/image   ", "error: /image FILE is missing" },
    { "/image no/such.png", "error: no/such.png: No such file" },
    { "/image golden/tiny/small/tokens.json", "tokens.json: " },
    { "/image golden/tiny/small", "golden/tiny/small: " },
    { "/audio golden/tiny/small/image1.png", "image1.png: " },
    { "/video golden/tiny/small/image1.png", "image1.png: " },
    { "/thinking perhaps", "error: /thinking takes on or off" },
    { "/save", "error: /save FILE is missing" },
    { "/save x.json", "error: nothing to save yet" },
    { "/help", "/thinking on|off" },
    { "look at <|image|>", "error: conversation: message text holds a media placeholder" },
    { "a\xff\xfe", "error: the message is not UTF-8 at byte 1" },
    { "a\026\001b", NULL },          /* ^V and a control byte: text, shown safely */
    { "//help is text", "prompt tokens" },
    { "/save /proc/no/such", "error: /proc/no/such: " },
    { "\xc3\xa9", "prompt tokens" },
};

START_TEST(wrong_lines)
{
    char nul[] = { 'a', 0, 'b', '\n' };
    if (!runnable) return;
    begin("golden/tiny/small/model", "--temperature 0 --max-tokens 5", NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) enter(wrong[i].line, wrong[i].says);
    type(nul, sizeof nul);
    wait_for("error: the message holds a NUL");
    enter("", NULL);
    type("/quit\n", 6);
    ck_assert_int_eq(end(), 0);
}
END_TEST

/* Waits until the file of answers has grown. */
static void wait_for_answer(long size)
{
    for (int i = 0; i < PATIENCE; i++) {
        size_t len;
        char *text = slurp(answers, &len);
        free(text);
        if ((long)len > size) return;
        usleep(1000);
    }
    ck_abort_msg("no answer came");
}

START_TEST(interrupts)
{
    char command[TEMPDIR_MAX + 16];
    size_t len;
    if (!runnable) return;
    begin("golden/tiny/small/model",
          "--temperature 0 --ignore-eos --max-tokens 100000 --ctx 120000", answers);
    type("go on and on\n", 13);
    wait_for_answer(40);
    type("\003", 1);
    wait_for("(stopped)");
    wait_for("\n> ");
    snprintf(command, sizeof command, "/save %s", saved);
    enter(command, "saved: 2 messages");   /* a line between: the first Ctrl-C is forgotten */
    free(slurp(answers, &len));
    type("again\n", 6);
    wait_for_answer((long)len);
    type("\003", 1);
    wait_for("(stopped)");
    wait_for("\n> ");
    ck_assert_int_gt(kept(), 5);
    enter(command, "saved: 4 messages");
    type("half a line\003", 12);
    wait_for("(Ctrl-C once more");
    wait_for("\n> ");
    type("\003", 1);
    ck_assert_int_eq(end(), 0);
}
END_TEST

/* Ctrl-D behind text hands it over, one more sends it, one at the prompt ends. */
START_TEST(end_of_input)
{
    size_t len;
    if (!runnable) return;
    begin("golden/tiny/small/model", "--temperature 0 --max-tokens 5", answers);
    type("half a line\004\004", 13);
    wait_for("prompt tokens");
    wait_for("\n> ");
    type("\004", 1);
    ck_assert_int_eq(end(), 0);
    free(slurp(answers, &len));
    ck_assert_uint_gt(len, 0);
    begin("golden/tiny/small/model", "--temperature 0 --max-tokens 5", answers);
    close(t.fd);   /* the terminal goes away: SIGHUP */
    free(t.shown);
    ck_assert_int_eq(program_finish(t.pid), 1000 + SIGHUP);
}
END_TEST

/* What a terminal dropped must not be answered as if it were whole. */
START_TEST(line_cut_by_the_terminal)
{
    char line[6000];
    if (!runnable) return;
    begin("golden/tiny/small/model", "--temperature 0 --max-tokens 5 --ctx 8192", answers);
    memset(line, 'w', sizeof line);
    type(line, sizeof line);
    type("\n", 1);
    wait_for("error: the terminal keeps 4095 bytes of a line");
    wait_for("\n> ");
    memset(line, ' ', sizeof line);
    memcpy(line + 4000, "short enough\n", 13);
    type(line, 4013);
    wait_for("prompt tokens");
    wait_for("\n> ");
    type("/quit\n", 6);
    ck_assert_int_eq(end(), 0);
}
END_TEST

/* Pasted text between two lines of three quotes is one message, whatever is in it;
 * a letter may come in two reads. */
START_TEST(blocks_and_split_letters)
{
    char command[TEMPDIR_MAX + 16];
    static const char paste[] = "\"\"\"a \\\n\n/quit\n  \"\"\" inside\n\xc3\xa9nd\"\"\"\n";
    if (!runnable) return;
    begin("golden/tiny/small/model", "--temperature 0 --max-tokens 5", answers);
    type(paste, sizeof paste - 1);
    wait_for("prompt tokens");
    wait_for("\n> ");
    enter("\"\"\"one line\"\"\"", "prompt tokens");
    type("\"\"\"dropped\nhalf\003", 16);
    wait_for("(Ctrl-C once more");
    wait_for("\n> ");
    struct termios mode;
    ck_assert_int_eq(tcgetattr(t.fd, &mode), 0);
    mode.c_lflag &= ~(tcflag_t)ICANON;   /* so that a read may end within a letter */
    ck_assert_int_eq(tcsetattr(t.fd, TCSANOW, &mode), 0);
    type("\xe2\x82", 2);
    usleep(50000);
    enter("\xac", "prompt tokens");
    snprintf(command, sizeof command, "/save %s", saved);
    enter(command, "saved: 6 messages");
    type("/quit\n", 6);
    ck_assert_int_eq(end(), 0);
    static const char *const said[] = { "a \\\n\n/quit\n  \"\"\" inside\n\u00e9nd", "one line",
                                        "\u20ac" };
    json_t *messages = json_load_file(saved, 0, NULL);
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(json_string_value(json_object_get(json_array_get(messages, 2 * i),
                                                           "content")), said[i]);
    json_decref(messages);
}
END_TEST

/* 1 MB in one line (a terminal in canonical mode would cut it at 4095 bytes). */
START_TEST(long_line)
{
    struct termios mode;
    size_t n = 1 << 20;
    if (!runnable) return;
    begin("golden/tiny/mini/model", "--temperature 0 --max-tokens 5 --ctx 4096", answers);
    ck_assert_int_eq(tcgetattr(t.fd, &mode), 0);
    mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    ck_assert_int_eq(tcsetattr(t.fd, TCSANOW, &mode), 0);
    char *line = malloc(n + 1);
    ck_assert_ptr_nonnull(line);
    for (size_t i = 0; i < n; i++) line[i] = (char)('a' + i % 26);
    line[n] = '\n';
    type(line, n + 1);
    wait_for("error: ");   /* longer than any context may be */
    wait_for("\n> ");
    type(line + n - (1 << 16), (1 << 16) + 1);
    wait_for("error: the context is full: ");
    wait_for("room for 4096; not sent; /reset starts anew");
    wait_for("\n> ");
    free(line);
    enter("short", "0 of them kept");
    type("/quit\n", 6);
    ck_assert_int_eq(end(), 0);
}
END_TEST

START_TEST(full_context)
{
    if (!runnable) return;
    begin("golden/tiny/small/model", "--temperature 0 --ignore-eos --max-tokens 500 --ctx 64",
          answers);
    enter("hello", "(cut: the context of 64 tokens is full; /reset starts anew");
    enter("hello again", "error: the context is full: ");
    enter("/image golden/tiny/small/image1.png", "attached");
    enter("look", "error: the context is full: ");
    enter("/reset", "a new conversation");
    enter("hello", "0 of them kept");
    type("/quit\n", 6);
    ck_assert_int_eq(end(), 0);
}
END_TEST

START_TEST(options)
{
    static const struct { const char *more, *says; } rows[] = {
        { "--json", "--json: not in a terminal" },
        { "--prompt x", "exclude each other" },
        { "--tools golden/tiny/small/model/config.json", "config.json: neither an array of tools" },
        { "--tools no/such.json", "no/such.json" },
        { "--kv q4_0", "--kv" },
    };
    if (!runnable) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char words[1024], *argv[PROGRAM_WORDS];
        snprintf(words, sizeof words, "generate --model golden/tiny/small/model --chat - %s",
                 rows[i].more);
        split(argv, words);
        memset(&t, 0, sizeof t);
        t.shown = calloc(SHOWN, 1);
        t.pid = forkpty(&t.fd, NULL, NULL, NULL);
        if (t.pid == 0) {
            execv(argv[0], argv);
            _exit(PROGRAM_CANNOT_EXEC);
        }
        wait_for(rows[i].says);
        ck_assert_int_eq(end(), 2);
    }
}
END_TEST

/* ---- without a terminal ---- */

START_TEST(stdin_is_a_file)
{
    static const char text[] = "[{\"role\":\"user\",\"content\":[{\"type\":\"image\"},{\"type\":"
                               "\"text\",\"text\":\"what?\"}]}]";
    char file[TEMPDIR_MAX], command[TEMPDIR_MAX + 300], other[TEMPDIR_MAX];
    size_t a, b;
    if (!runnable) return;
    tempdir_write(dir, "messages.json", text, strlen(text));
    tempdir_path(file, dir, "messages.json");
    tempdir_path(other, dir, "other");
    const char *rest = "--image golden/tiny/small/image1.png --temperature 0 --max-tokens 20";
    snprintf(command, sizeof command, "generate --model golden/tiny/small/model %s --chat -", rest);
    ck_assert_int_eq(run(command, file, answers), 0);
    strcpy(command + strlen(command) - 1, file);
    ck_assert_int_eq(run(command, NULL, other), 0);
    char *x = slurp(answers, &a), *y = slurp(other, &b);
    ck_assert_uint_gt(a, 10);
    ck_assert(a == b && memcmp(x, y, a) == 0);
    free(x);
    free(y);
    snprintf(command, sizeof command, "generate --model golden/tiny/small/model --chat -");
    tempdir_write(dir, "messages.json", text, strlen(text) - 1);
    ck_assert_int_eq(run(command, file, answers), 2);
    ck_assert_int_eq(run(command, NULL, answers), 2);
}
END_TEST

/* --json's message is what g4_answer_parse says of all the tokens. */
START_TEST(json_message)
{
    static const char text[] = "[{\"role\":\"user\",\"content\":\"hello\"}]";
    char file[TEMPDIR_MAX], command[TEMPDIR_MAX + 300];
    g4_tokenizer *tok;
    g4_ids ids = { 0 };
    g4_answer a;
    size_t len, i;
    json_t *id;
    if (!runnable) return;
    tempdir_write(dir, "messages.json", text, strlen(text));
    tempdir_path(file, dir, "messages.json");
    snprintf(command, sizeof command, "generate --model golden/tiny/small/model --json --seed %d "
             "--ignore-eos --temperature 2 --top-k 0 --top-p 1 --max-tokens 200 --chat %s", _i,
             file);
    ck_assert_int_eq(run(command, NULL, answers), 0);
    json_t *root = json_load_file(answers, JSON_ALLOW_NUL, NULL);
    json_t *m = json_object_get(root, "message");
    ck_assert_ptr_nonnull(m);
    ck_assert_int_eq(g4_tokenizer_load(&tok, "golden/tiny/small/model", NULL), G4_OK);
    json_array_foreach(json_object_get(root, "ids"), i, id)
        ck_assert_int_eq(g4_ids_push(&ids, (int32_t)json_integer_value(id), NULL), G4_OK);
    ck_assert_uint_eq(ids.count, 200);
    char *raw;
    ck_assert_int_eq(g4_tokenizer_decode(tok, ids.ids, ids.count, 0, &raw, &len, NULL), G4_OK);
    ck_assert_int_eq(g4_answer_parse(&a, raw, len, 0, NULL), G4_OK);
    ck_assert_str_eq(json_string_value(json_object_get(m, "role")), "assistant");
    json_t *content = json_object_get(m, "content"), *errors = json_object_get(m, "errors");
    ck_assert_uint_eq(json_string_length(content), a.text_len);
    ck_assert_int_eq(memcmp(json_string_value(content), a.text, a.text_len), 0);
    ck_assert(json_equal(json_object_get(m, "tool_calls"), a.tool_calls));
    ck_assert_int_eq(json_is_null(json_object_get(m, "reasoning_content")), a.thinking_len == 0);
    ck_assert_uint_eq(json_array_size(errors), a.error_count);
    for (i = 0; i < a.error_count; i++)
        ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(errors, i), "offset")),
                         (json_int_t)a.errors[i].offset);
    g4_answer_free(&a);
    free(raw);
    g4_ids_free(&ids);
    g4_tokenizer_free(tok);
    json_decref(root);
}
END_TEST

static const struct {
    const char *answer;
    int in_thought;
    const char *file, *terminal, *said;   /* shown in a file, on a terminal, the answer itself */
    size_t faults;
} shown[] = {
    { "Hi<turn|>", 0, "Hi\n", "Hi\n", "Hi", 0 },
    { "", 0, "\n", "\n", "", 0 },
    { "<|channel>thought\nhm, 2\n<channel|>Hi\n<turn|>", 0, "hm, 2\nHi\n",
      "\033[2mhm, 2\n\033[0mHi\n", "Hi\n", 0 },
    { "<|channel>thought\nhm<channel|>Hi", 0, "hm\nHi\n", "\033[2mhm\033[0m\nHi\n", "Hi", 0 },
    { "<|channel>thought\n<channel|>Hi", 0, "Hi\n", "Hi\n", "Hi", 0 },
    { "<|channel>thoughts<channel|>Hi", 0, "thoughts\nHi\n", "\033[2mthoughts\033[0m\nHi\n",
      "Hi", 1 },
    { "hm\n<channel|>Hi", 1, "hm\nHi\n", "\033[2mhm\n\033[0mHi\n", "Hi", 0 },
    { "<|channel>thought\nhm", 0, "hm\n", "\033[2mhm\033[0m\n", "", 1 },
    { "a<|tool_call>call:f{x:1,s:<|\"|>\xc3\xa9<|\"|>}<tool_call|><|tool_response>", 0,
      "a\n{\"name\":\"f\",\"arguments\":{\"x\":1,\"s\":\"\xc3\xa9\"}}\n",
      "a\n{\"name\":\"f\",\"arguments\":{\"x\":1,\"s\":\"\\u00E9\"}}\n", "a", 0 },
    { "a<|tool_call>call:f{x}<tool_call|>b", 0, "ab\n", "ab\n", "ab", 1 },
    { "a\033[31m\tb\177\xc2\x9b" "c", 0, "a\033[31m\tb\177\xc2\x9b" "c\n",
      "a\\x1b[31m\tb\\x7f\\xc2\\x9bc\n", "a\033[31m\tb\177\xc2\x9b" "c", 0 },
    { "a<|image|>b<|turn>c", 0, "abc\n", "abc\n", "abc", 0 },
};

static void reply(g4_reply *r, const g4_tokenizer *tok, int i, FILE *out)
{
    g4_ids ids = { 0 };
    ck_assert_int_eq(g4_tokenizer_encode(tok, shown[i].answer, strlen(shown[i].answer), 0, &ids,
                                         NULL), G4_OK);
    g4_reply_init(r, tok, out, shown[i].in_thought);
    for (size_t k = 0; k < ids.count; k++)
        ck_assert_int_eq(g4_reply_push(r, ids.ids[k], NULL), G4_OK);
    ck_assert_int_eq(g4_reply_end(r, NULL), G4_OK);
    ck_assert_str_eq(r->said.data, shown[i].said);
    g4_ids_free(&ids);
}

START_TEST(replies)
{
    char text[4096] = { 0 };
    g4_tokenizer *tok;
    g4_reply r;
    int master, slave;
    struct termios mode;
    ck_assert_int_eq(g4_tokenizer_load(&tok, "golden/tiny/small/model", NULL), G4_OK);
    FILE *f = fmemopen(text, sizeof text, "w");
    ck_assert_ptr_nonnull(f);
    reply(&r, tok, _i, f);
    fclose(f);
    ck_assert_str_eq(text, shown[_i].file);
    g4_reply_free(&r);

    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
    ck_assert_int_eq(tcgetattr(slave, &mode), 0);
    mode.c_oflag &= ~(tcflag_t)OPOST;
    ck_assert_int_eq(tcsetattr(slave, TCSANOW, &mode), 0);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    f = fdopen(slave, "w");
    ck_assert_ptr_nonnull(f);
    reply(&r, tok, _i, f);
    ck_assert_uint_eq(r.answer.error_count, shown[_i].faults);
    g4_reply_free(&r);
    fclose(f);
    memset(text, 0, sizeof text);
    for (size_t at = 0; at + 1 < sizeof text;) {
        ssize_t n = read(master, text + at, sizeof text - 1 - at);
        if (n <= 0) break;   /* EIO: all is read, the other end is closed */
        at += (size_t)n;
    }
    ck_assert_str_eq(text, shown[_i].terminal);
    close(master);
    g4_tokenizer_free(tok);
}
END_TEST

/* <turn|> always stops, <|tool_response> where the prompt speaks of tools. */
START_TEST(stops)
{
    g4_tokenizer *tok;
    g4_options o = { 0 };
    int64_t ids[G4_MAX_STOPS], eos[1] = { 1 };
    static const struct { const char *prompt; int count; } rows[] = {
        { "<bos><|turn>user\nhello<turn|>\n", 2 },
        { "<bos><|turn>system\n<|tool>declaration:f{}<tool|><turn|>\n", 3 },
        { "<bos><|turn>model\n<|tool_call>call:f{}<tool_call|>", 3 },
    };
    ck_assert_int_eq(g4_tokenizer_load(&tok, "golden/tiny/small/model", NULL), G4_OK);
    for (size_t i = 0; i < 3; i++) {
        g4_ids text = { 0 };
        g4_generate_options opt = { .stop = eos, .stop_count = 1 };
        ck_assert_int_eq(g4_tokenizer_encode(tok, rows[i].prompt, strlen(rows[i].prompt), 0, &text,
                                             NULL), G4_OK);
        g4_prompt p = { .n = (int64_t)text.count, .ids = text.ids };
        g4_stops_choose(&opt, ids, &o, tok, &p);
        ck_assert_int_eq(opt.stop_count, rows[i].count);
        ck_assert_int_eq(opt.stop[0], 1);
        ck_assert_int_eq(opt.stop[1], g4_tokenizer_id(tok, "<turn|>"));
        if (rows[i].count > 2)
            ck_assert_int_eq(opt.stop[2], g4_tokenizer_id(tok, "<|tool_response>"));
        g4_stops_choose(&opt, ids, &(g4_options){ .ignore_eos = 1 }, tok, &p);
        ck_assert_int_eq(opt.stop_count, rows[i].count);
        g4_ids_free(&text);
    }
    g4_tokenizer_free(tok);
}
END_TEST

enum { FAST_ENGINES = 3, FAST_MESSAGES = 2 };   /* of those; the rest in check-all */

Suite *check_terminal(void)
{
    Suite *s = suite_create("terminal");
    TCase *tc = tcase_create("talk");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, turns_as_one_shot, 0, FAST_ENGINES);
    tcase_add_test(tc, system_and_thinking_change);
    tcase_add_test(tc, reset_is_a_fresh_start);
    tcase_add_test(tc, wrong_lines);
    tcase_add_test(tc, interrupts);
    tcase_add_test(tc, end_of_input);
    tcase_add_test(tc, line_cut_by_the_terminal);
    tcase_add_test(tc, blocks_and_split_letters);
    tcase_add_test(tc, long_line);
    tcase_add_test(tc, full_context);
    tcase_add_test(tc, options);
    tcase_add_test(tc, stdin_is_a_file);
    tcase_add_loop_test(tc, json_message, 0, FAST_MESSAGES);
    suite_add_tcase(s, tc);
    tc = tcase_create("long talk");
    tcase_set_tags(tc, "slow");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, turns_as_one_shot, FAST_ENGINES, sizeof engines / sizeof *engines);
    tcase_add_loop_test(tc, json_message, FAST_MESSAGES, 5);
    suite_add_tcase(s, tc);
    tc = tcase_create("reply");
    tcase_add_loop_test(tc, replies, 0, sizeof shown / sizeof *shown);
    tcase_add_test(tc, stops);
    suite_add_tcase(s, tc);
    return s;
}
