/* SPDX-License-Identifier: Apache-2.0
 * Requests of several media, from files to what the model makes of them:
 * our reading of the files behind each golden gives the golden's own inputs,
 * bit for bit; and media act on nothing but their own rows and what may see
 * those.  (That the model's numbers are right is suite verify's.) */
#include "golden/golden.h"
#include "kernels_opt/kernels.h"
#include "ref/base/map.h"
#include "ref/input/chat.h"
#include "ref/input/prompt_build.h"
#include "ref/model/forward.h"
#include "ref/model/generate.h"

#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *check_mixed(void);

#define MINI "golden/tiny/mini/"

enum { MAX_CASES = 200, MAX_FILES = 8, PATH = 300 };

static char cases[MAX_CASES][PATH];   /* goldens with media */
static int case_count;
static g4_arena arena;

static void free_arena(void)
{
    g4_arena_free(&arena);
}

/* ------------------------------------------------- files give the golden's inputs */

/* The golden's own media list does not say the kinds; the names do. */
static int kind_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (g4_path_kind(path) == 2) return G4_VIDEO;
    return dot && strcmp(dot, ".wav") == 0 ? G4_AUDIO : G4_IMAGE;
}

/* "a.png\nb.wav" beside the golden `file`. */
static size_t list_media(g4_media *media, const char *file, const char *names)
{
    int dir = (int)(strrchr(file, '/') - file);
    size_t n = 0;
    for (; *names; names += *names == '\n') {
        int len = (int)strcspn(names, "\n");
        ck_assert_uint_lt(n, MAX_FILES);
        const char *path = g4_arena_printf(&arena, "%.*s/%.*s", dir, file, len, names);
        ck_assert_ptr_nonnull(path);
        media[n++] = (g4_media){ kind_of(path), path };
        names += len;
    }
    return n;
}

static void build(g4_prompt *p, const char *folder, const char *text, const g4_media *media,
                  size_t n, int64_t image_tokens)
{
    g4_request r = { .text = text, .len = strlen(text), .media = media, .media_count = n,
                     .image_tokens = image_tokens, .audio_limit = -1, .bos = G4_BOS_AUTO };
    g4_processor proc;
    g4_tokenizer *tok;
    g4_err err;
    ck_assert_msg(g4_processor_load(&proc, folder, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_tokenizer_load(&tok, folder, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_prompt_build(p, &r, &proc, tok, &arena, NULL, &err) == G4_OK, "%s", err.msg);
    g4_tokenizer_free(tok);
}

static void same_patches(const g4_patches *a, const g4_patches *b, const char *what)
{
    ck_assert_msg(a->count == b->count, "%s: %lld, not %lld", what, (long long)a->count,
                  (long long)b->count);
    if (a->count == 0) return;
    size_t rows = (size_t)(a->count * a->budget);
    ck_assert_msg(a->budget == b->budget && a->patch == b->patch, "%s", what);
    ck_assert_msg(memcmp(a->positions, b->positions, 2 * rows * sizeof *a->positions) == 0,
                  "%s: positions", what);
    ck_assert_msg(memcmp(a->pixels, b->pixels, rows * (size_t)a->patch * sizeof *a->pixels) == 0,
                  "%s: pixels", what);
}

static void same_prompt(const g4_prompt *a, const g4_prompt *b, const char *file)
{
    size_t n = (size_t)a->n, frames = (size_t)(a->clips * a->clip_frames);
    ck_assert_msg(a->n == b->n && memcmp(a->ids, b->ids, n * sizeof *a->ids) == 0, "%s: ids", file);
    ck_assert_msg(memcmp(a->types, b->types, n) == 0, "%s: types", file);
    ck_assert_msg(memcmp(a->positions, b->positions, n * sizeof *a->positions) == 0, "%s", file);
    same_patches(&a->images, &b->images, file);
    same_patches(&a->frames, &b->frames, file);
    ck_assert_msg(a->videos == b->videos, "%s: videos", file);
    for (int64_t i = 0; i < a->videos; i++)
        ck_assert_int_eq(a->num_frames_per_video[i], b->num_frames_per_video[i]);
    ck_assert_msg(a->clips == b->clips && a->clip_frames == b->clip_frames, "%s: clips", file);
    if (a->clips == 0) return;
    ck_assert_msg(memcmp(a->input_features_mask, b->input_features_mask, frames) == 0, "%s", file);
    ck_assert_msg(memcmp(a->input_features, b->input_features,
                         frames * (size_t)a->frame * sizeof(float)) == 0, "%s: sound", file);
}

static g4_golden *open_case(const char *file, g4_prompt *p, char folder[PATH])
{
    g4_golden *g;
    g4_err err;
    snprintf(folder, PATH, "%.*s/model", (int)(strrchr(file, '/') - file), file);
    ck_assert_msg(g4_golden_open(&g, file, G4_GOLDEN_DIRECT, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_golden_prompt(g, p, &arena, &err) == G4_OK, "%s", err.msg);
    return g;
}

START_TEST(files_give_the_inputs)
{
    g4_media media[MAX_FILES];
    g4_prompt want, have;
    char folder[PATH];
    g4_golden *g = open_case(cases[_i], &want, folder);
    size_t n = list_media(media, cases[_i], g4_golden_text(g, "media"));
    build(&have, folder, g4_golden_text(g, "prompt"), media, n,
          atoi(g4_golden_text(g, "image_tokens")));
    same_prompt(&want, &have, cases[_i]);
    g4_golden_close(g);
}
END_TEST

/* Parts of one message and of several turns; their files, too. */
START_TEST(a_conversation_gives_the_inputs)
{
    g4_chat_options options = g4_chat_defaults();
    g4_media media[MAX_FILES];
    g4_chat_text text;
    g4_chat *chat;
    g4_prompt want, have;
    g4_err err;
    char folder[PATH];
    g4_golden *g = open_case(MINI "mix_chat.h5", &want, folder);
    ck_assert_msg(g4_chat_load(&chat, MINI "mix_chat.json", NULL, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_chat_render(chat, &options, &text, &err) == G4_OK, "%s", err.msg);
    ck_assert_str_eq(text.text, g4_golden_text(g, "prompt"));
    ck_assert_uint_eq(text.media_count, 5);
    for (size_t i = 0; i < text.media_count; i++)
        media[i] = (g4_media){ text.media[i].kind, text.media[i].path };
    build(&have, folder, text.text, media, text.media_count, 0);
    same_prompt(&want, &have, "mix_chat.json");
    g4_chat_text_free(&text);
    g4_chat_free(chat);
    g4_golden_close(g);
}
END_TEST

/* ------------------------------------------------------ what a medium acts upon */

static const g4_media row = { G4_IMAGE, MINI "row.png" };         /* 36 soft tokens */
static const g4_media column = { G4_IMAGE, MINI "column.png" };   /* 35 */
static const g4_media two = { G4_AUDIO, MINI "two.wav" };
static const g4_media three = { G4_AUDIO, MINI "three.wav" };
static const g4_media clip = { G4_VIDEO, MINI "clip" };

/* What a request became on its way: [n][D] each, in the arena. */
typedef struct trace {
    g4_prompt prompt;
    int64_t hidden;              /* D */
    float *embeddings, *norm;
} trace;

static void keep(void *ctx, const g4_tap_at *at, const float *data)
{
    trace *t = ctx;
    float *to = at->id == G4_TAP_embeddings ? t->embeddings
                : at->id == G4_TAP_norm     ? t->norm : NULL;
    if (to) memcpy(to + at->row * at->cols, data, (size_t)(at->rows * at->cols) * sizeof *to);
}

#define OK(expr) ck_assert_msg((expr) == G4_OK, "%s", err.msg)

static void trace_run(trace *t, const char *text, const g4_media *media, size_t n, int mask)
{
    const g4_tap tap = { t, keep };
    g4_err err = { G4_OK, "" };
    g4_ops ops;
    g4_par *par;
    g4_model *model;
    g4_engine *engine;
    g4_session *session;
    g4_soft soft;
    build(&t->prompt, MINI "model", text, media, n, 0);
    OK(g4_ops_select(&ops, g4_cpu_isas(), &err));
    OK(g4_par_open(&par, 2, &err));
    OK(g4_model_open(&model, MINI "model", &err));
    g4_engine_plan plan = { .ctx = t->prompt.n + 1, .rows = t->prompt.n, .logit_rows = 1,
                            .mask = (g4_mask)mask };
    OK(g4_engine_open(&engine, model, &ops, par, &plan, &err));
    OK(g4_session_open(&session, engine, &err));
    t->hidden = model->config.hidden_size;
    t->embeddings = g4_arena_alloc(&arena, (size_t)(t->prompt.n * t->hidden), sizeof(float));
    t->norm = g4_arena_alloc(&arena, (size_t)(t->prompt.n * t->hidden), sizeof(float));
    float *logits = g4_arena_alloc(&arena, (size_t)model->config.vocab_size, sizeof *logits);
    float *hidden = g4_arena_alloc(&arena, (size_t)t->hidden, sizeof *hidden);
    ck_assert(t->embeddings && t->norm && logits && hidden);
    const g4_prefill_item item = { session, &t->prompt, &soft, logits, hidden };
    session->tap = &tap;
    OK(g4_soft_embed(&soft, engine, &t->prompt, &tap, &err));
    OK(g4_prefill(engine, &item, 1, 0, &err));
    g4_soft_free(&soft);
    g4_session_close(session);
    g4_engine_close(engine);
    g4_model_close(model);
    g4_par_close(par);
}

/* The first soft token behind `from` of a kind, and how many follow each other. */
static int64_t run_of(const g4_prompt *p, int kind, int64_t from, int64_t *count)
{
    while (from < p->n && p->types[from] != kind) from++;
    for (*count = 0; from + *count < p->n && p->types[from + *count] == kind;) ++*count;
    ck_assert_int_gt(*count, 0);
    return from;
}

static int same_rows(const trace *a, const float *x, int64_t at, const float *y, int64_t there,
                     int64_t rows)
{
    size_t bytes = (size_t)(rows * a->hidden) * sizeof *x;
    return memcmp(x + at * a->hidden, y + there * a->hidden, bytes) == 0;
}

/* Two pictures change places: their rows move with them, no other row that
 * enters the model changes, and nothing before the first comes out changed. */
START_TEST(pictures_change_places)   /* _i: the mask */
{
    const g4_media one[] = { row, two, column }, other[] = { column, two, row };
    const char *text = "A<|image|>b<|audio|>c<|image|>d";
    int64_t n[4], at[4];
    trace a, b;
    trace_run(&a, text, one, 3, _i);
    trace_run(&b, text, other, 3, _i);
    ck_assert_int_eq(a.prompt.n, b.prompt.n);
    at[0] = run_of(&a.prompt, G4_IMAGE, 0, &n[0]);
    at[1] = run_of(&a.prompt, G4_IMAGE, at[0] + n[0], &n[1]);
    at[2] = run_of(&b.prompt, G4_IMAGE, 0, &n[2]);
    at[3] = run_of(&b.prompt, G4_IMAGE, at[2] + n[2], &n[3]);
    ck_assert(n[0] == 36 && n[1] == 35 && n[2] == 35 && n[3] == 36 && at[0] == at[2]);
    const float *x = a.embeddings, *y = b.embeddings;
    ck_assert(same_rows(&a, x, at[0], y, at[3], 36));
    ck_assert(same_rows(&a, x, at[1], y, at[2], 35));
    ck_assert(!same_rows(&a, x, at[0], y, at[2], 35));
    ck_assert(same_rows(&a, x, 0, y, 0, at[0]));
    ck_assert(same_rows(&a, x, at[0] + 36, y, at[2] + 35, at[1] - at[0] - 36));
    ck_assert(same_rows(&a, x, at[1] + 35, y, at[3] + 36, a.prompt.n - at[1] - 35));
    ck_assert(same_rows(&a, a.norm, 0, b.norm, 0, at[0]));
    ck_assert(!same_rows(&a, a.norm, a.prompt.n - 1, b.norm, a.prompt.n - 1, 1));
}
END_TEST

/* Whatever comes behind a block, the block and all before it stay as they are. */
START_TEST(later_media_change_nothing_before_them)   /* _i: the mask */
{
    const g4_media one[] = { row, clip, two }, other[] = { row, three };
    int64_t count;
    trace a, b;
    trace_run(&a, "A<|image|>b<|video|><|audio|>", one, 3, _i);
    trace_run(&b, "A<|image|>b<|audio|> and so on", other, 2, _i);
    int64_t end = run_of(&a.prompt, G4_IMAGE, 0, &count) + 36 + 1;
    ck_assert_int_eq(count, 36);
    ck_assert_mem_eq(a.prompt.ids, b.prompt.ids, (size_t)end * sizeof *a.prompt.ids);
    ck_assert(same_rows(&a, a.norm, 0, b.norm, 0, end));
}
END_TEST

static void find_cases(void)
{
    glob_t found;
    case_count = 0;
    if (glob("golden/tiny/*/*.h5", 0, NULL, &found) != 0) return;
    for (size_t i = 0; i < found.gl_pathc && case_count < MAX_CASES; i++) {
        g4_golden *g;
        if (g4_golden_open(&g, found.gl_pathv[i], G4_GOLDEN_DIRECT, NULL) != G4_OK) continue;
        if (g4_golden_text(g, "media"))
            snprintf(cases[case_count++], PATH, "%.200s", found.gl_pathv[i]);
        g4_golden_close(g);
    }
    globfree(&found);
}

START_TEST(cases_are_there)
{
    ck_assert_int_ge(case_count, 25);
}
END_TEST

Suite *check_mixed(void)
{
    Suite *s = suite_create("mixed");
    TCase *t = tcase_create("requests");
    find_cases();
    tcase_add_checked_fixture(t, NULL, free_arena);
    tcase_add_test(t, cases_are_there);
    tcase_add_loop_test(t, files_give_the_inputs, 0, case_count);
    tcase_add_test(t, a_conversation_gives_the_inputs);
    tcase_add_loop_test(t, pictures_change_places, 0, 4);
    tcase_add_loop_test(t, later_media_change_nothing_before_them, 0, 4);
    suite_add_tcase(s, t);
    return s;
}
