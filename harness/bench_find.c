/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/bench_find.h"

#include "harness/bench_child.h"
#include "harness/text.h"
#include "ref/base/map.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 1024, HELP_SECONDS = 60 };

static const char own_name[] = "gemma4";

/* ---- finding ---- */

/* Takes path for a peer if it is a program; name is copied. */
static g4_status take(bench_race *r, const char *path, const char *name, int *taken, g4_err *err)
{
    *taken = path && g4_path_kind(path) == 1 && access(path, X_OK) == 0;
    if (!path) return g4_nomem(err, "bench");
    if (!*taken) return G4_OK;
    if (r->engines + 1 >= BENCH_ENGINES)
        return g4_fail(err, G4_EINPUT, "%s: more than %d peers", r->o->peers,
                       (int)BENCH_ENGINES - 1);
    bench_engine *e = &r->engine[r->engines++];
    e->path = path;
    e->name = g4_arena_printf(&r->arena, "%s", name);
    return e->name ? G4_OK : g4_nomem(err, "bench");
}

static g4_status find_in(bench_race *r, const char *dir, const char *name, g4_err *err)
{
    static const char *const places[] = { "", "bin/", "build/bin/" };
    int taken = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places && !taken; i++) {
        const char *path = g4_arena_printf(&r->arena, "%s/%s/%sllama-bench", dir, name, places[i]);
        G4_TRY(take(r, path, name, &taken, err));
    }
    if (!taken) {
        char safe[512], line[512];
        snprintf(line, sizeof line, "%.200s/%.200s", dir, name);
        fprintf(stderr, "gemma4: %s: no llama-bench in it, its bin or build/bin\n",
                g4_text_safe(safe, sizeof safe, line));
    }
    return G4_OK;
}

/* DIR/llama-bench is called by DIR's own name. */
static g4_status find_here(bench_race *r, const char *dir, g4_err *err)
{
    int taken;
    char *real = realpath(dir, NULL);
    const char *slash = real ? strrchr(real, '/') : NULL;
    const char *path = g4_arena_printf(&r->arena, "%s/llama-bench", dir);
    g4_status s = take(r, path, slash && slash[1] ? slash + 1 : "llama-bench", &taken, err);
    free(real);
    return s;
}

g4_status bench_find(bench_race *r, g4_err *err)
{
    struct dirent **entry;
    const char *dir = r->o->peers;
    int count = scandir(dir, &entry, NULL, alphasort);
    if (count < 0)
        return g4_fail(err, G4_EIO, "%s: cannot read this folder: %s", dir, strerror(errno));
    g4_status s = find_here(r, dir, err);
    for (int i = 0; i < count; i++) {
        const char *name = entry[i]->d_name;
        const char *path = g4_arena_printf(&r->arena, "%s/%s", dir, name);
        if (s == G4_OK && !path) s = g4_nomem(err, "bench");
        if (s == G4_OK && name[0] != '.' && g4_path_kind(path) == 2) s = find_in(r, dir, name, err);
        free(entry[i]);
    }
    free(entry);
    G4_TRY(s);
    if (r->engines == 0)
        return g4_fail(err, G4_EINPUT, "%s: no llama-bench in it, nor in FOLDER, FOLDER/bin or "
                       "FOLDER/build/bin below", dir);
    r->engine[r->engines++] = (bench_engine){ .name = own_name, .path = "/proc/self/exe",
                                              .self = 1, .takes_depth = 1, .flags = "" };
    return G4_OK;
}

/* ---- words ---- */

static g4_status word(bench_engine *e, const char *text, g4_err *err)
{
    if (!text) return g4_nomem(err, "bench");
    if (e->words + 1 == WORDS)
        return g4_fail(err, G4_EINPUT, "%s: more than %d words", e->path, (int)WORDS);
    e->argv[e->words++] = (char *)(uintptr_t)text;   /* execv takes them so, and reads only */
    e->argv[e->words] = NULL;
    return G4_OK;
}

static g4_status pair(bench_engine *e, const char *flag, const char *value, g4_err *err)
{
    G4_TRY(word(e, flag, err));
    return word(e, value, err);
}

/* What help says of a flag begins "  -fa, --flash-attn". */
static int says(const char *help, const char *flag)
{
    size_t len = strlen(flag);
    for (const char *at = strstr(help, flag); at; at = strstr(at + 1, flag))
        if (at > help && strchr(" \n,", at[-1]) && strchr(" ,<", at[len])) return 1;
    return 0;
}

/* "NAME=ARGS; NAME=ARGS": the arguments for this one, NULL where there are none. */
static const char *given_flags(bench_race *r, const char *name)
{
    const char *at = r->o->peer_args ? r->o->peer_args : "";
    size_t len = strlen(name);
    while (*at) {
        at += strspn(at, "; ");
        size_t item = strcspn(at, ";");
        if (item > len && strncmp(at, name, len) == 0 && at[len] == '=')
            return g4_arena_printf(&r->arena, "%.*s", (int)(item - len - 1), at + len + 1);
        at += item;
    }
    return NULL;
}

/* Flash attention, and where weights can be repacked while loading (ik_llama.cpp): that, which
 * goes with no mapping only. */
static g4_status choose_flags(bench_race *r, bench_engine *e, const char *help, g4_err *err)
{
    e->takes_depth = says(help, "-d");
    e->flags = given_flags(r, e->name);
    if (!e->flags)
        e->flags = g4_arena_printf(&r->arena, "%s%s%s", says(help, "-fa") ? " -fa 1" : "",
                                   says(help, "-rtr") ? " -rtr 1" : "",
                                   says(help, "-rtr") && says(help, "-mmp") ? " -mmp 0" : "");
    return e->flags ? G4_OK : g4_nomem(err, "bench");
}

static g4_status add_flags(bench_race *r, bench_engine *e, g4_err *err)
{
    char *rest, *copy = g4_arena_printf(&r->arena, "%s", e->flags);
    if (!copy) return g4_nomem(err, "bench");
    for (char *w = strtok_r(copy, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        G4_TRY(word(e, w, err));
    return G4_OK;
}

static g4_status self_words(bench_race *r, bench_engine *e, g4_err *err)
{
    const g4_options *o = r->o;
    const struct {
        const char *flag, *value;
    } pass[] = { { "--engine", o->engine }, { "--isa", o->isa }, { "--bf16", o->bf16 },
                 { "-d", r->list.d } };
    G4_TRY(pair(e, "bench", "--repeat", err));
    G4_TRY(pair(e, "1", "-o", err));
    G4_TRY(pair(e, "json", "--kv", err));
    G4_TRY(word(e, r->kv, err));
    for (size_t i = 0; i < sizeof pass / sizeof *pass; i++)
        if (pass[i].value) G4_TRY(pair(e, pass[i].flag, pass[i].value, err));
    if (o->chunk)
        G4_TRY(pair(e, "--chunk", g4_arena_printf(&r->arena, "%lld", (long long)o->chunk), err));
    if (o->fill_random) G4_TRY(word(e, "--fill-random", err));
    G4_TRY(pair(e, "--seed", g4_arena_printf(&r->arena, "%llu", (unsigned long long)o->seed),
                err));
    return pair(e, "--threads", g4_arena_printf(&r->arena, "%d", r->threads), err);
}

/* Without -d, decoding behind a context is one -gp CONTEXT,TOKENS a test. */
static g4_status pair_tests(bench_race *r, bench_engine *e, g4_err *err)
{
    int empty = 0;
    for (int i = 0; i < r->list.tests; i++) empty |= r->list.test[i].depth == 0;
    G4_TRY(pair(e, "-p", empty ? r->list.p : "0", err));
    G4_TRY(pair(e, "-n", empty ? r->list.n : "0", err));
    for (int i = 0; i < r->list.tests; i++) {
        const bench_test *t = &r->list.test[i];
        if (!t->decode || !t->depth) continue;
        G4_TRY(pair(e, "-gp", g4_arena_printf(&r->arena, "%lld,%lld", (long long)t->depth,
                                              (long long)t->n), err));
    }
    return G4_OK;
}

static g4_status peer_words(bench_race *r, bench_engine *e, const char *help, g4_err *err)
{
    G4_TRY(pair(e, "-r", "1", err));
    G4_TRY(pair(e, "-o", "json", err));
    if (says(help, "-ctk")) {
        G4_TRY(pair(e, "-ctk", r->kv, err));
        G4_TRY(pair(e, "-ctv", r->kv, err));
    }
    G4_TRY(pair(e, "-t", g4_arena_printf(&r->arena, "%d", r->threads), err));
    G4_TRY(add_flags(r, e, err));
    if (!e->takes_depth) return pair_tests(r, e, err);
    return pair(e, "-d", r->list.d, err);
}

static g4_status ask_help(bench_race *r, bench_engine *e, const sigset_t *before, g4_err *err)
{
    char *argv[] = { (char *)(uintptr_t)e->path, (char[]){ "-h" }, NULL };
    bench_child c;
    g4_status s = bench_child_run(&c, argv, HELP_SECONDS, before, err);
    if (s == G4_OK && (!says(c.out, "-m") || !says(c.out, "-n")))
        s = g4_fail(err, G4_EINPUT, "%s: its -h is not llama-bench's%s%s", e->path,
                    c.said[0] ? ": " : "", c.said);
    if (s == G4_OK) s = choose_flags(r, e, c.out, err);
    if (s == G4_OK) s = peer_words(r, e, c.out, err);
    free(c.out);
    return s;
}

g4_status bench_find_words(bench_race *r, bench_engine *e, const sigset_t *before, g4_err *err)
{
    e->argv = g4_arena_alloc(&r->arena, WORDS, sizeof *e->argv);
    if (!e->argv) return g4_nomem(err, "bench");
    G4_TRY(word(e, e->path, err));
    if (e->self) G4_TRY(self_words(r, e, err));
    else G4_TRY(ask_help(r, e, before, err));
    G4_TRY(pair(e, e->self ? "--model" : "-m", r->o->model, err));
    if (!e->takes_depth) return G4_OK;
    G4_TRY(pair(e, "-p", r->list.p, err));
    return pair(e, "-n", r->list.n, err);
}
