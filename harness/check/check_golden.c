/* SPDX-License-Identifier: Apache-2.0
 * Golden files: what h5py wrote is read (data/golden/good.h5), what we write is
 * read back, and every file of data/golden/bad gives its error, whether libhdf5
 * runs in a child or in this process.  The files are golden/make_bad.py's; those
 * named crash_* were found by mutating good ones and bring libhdf5 1.10.8 down,
 * so they are only tried in a child. */
#include "golden/child.h"
#include "golden/golden.h"
#include "harness/check/fault.h"
#include "harness/check/tempdir.h"

#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *check_golden(void);

#define DATA "harness/check/data/golden/"

static g4_err err;

/* make_bad.py's values(): i / 8 - 1, exact in float32. */
static float made(int64_t i) { return (float)i / 8 - 1; }

static const g4_golden_set *find(g4_golden *g, const char *path, g4_golden_type type,
                                 int64_t rows, int64_t cols)
{
    const g4_golden_set *s = g4_golden_find(g, path);
    ck_assert_msg(s != NULL, "%s", path);
    ck_assert_int_eq(s->type, type);
    ck_assert_int_eq(g4_golden_rows(s), rows);
    ck_assert_int_eq(g4_golden_cols(s), cols);
    return s;
}

START_TEST(reads_what_h5py_wrote)   /* _i: G4_GOLDEN_DIRECT or not */
{
    g4_golden *g;
    float f[24];
    g4_arena arena = { NULL };
    int32_t *ids;
    int64_t n;
    ck_assert_msg(g4_golden_open(&g, DATA "good.h5", _i, &err) == G4_OK, "%s", err.msg);
    ck_assert_str_eq(g4_golden_text(g, "case"), "good");
    ck_assert_str_eq(g4_golden_text(g, "image_tokens"), "70");
    ck_assert_str_eq(g4_golden_text(g, "learning_rate"), "0.5");
    ck_assert_ptr_null(g4_golden_text(g, "media"));
    ck_assert_ptr_null(g4_golden_find(g, "inputs/unknown"));
    ck_assert_ptr_null(g4_golden_find(g, "surprise/of/yours"));
    ck_assert_uint_eq(g4_golden_count(g), 11);
    const g4_golden_set *s = find(g, "activations/logits", G4_GOLDEN_F32, 3, 8);
    ck_assert_int_eq(s->role, G4_GOLDEN_LOGITS);
    ck_assert_int_eq(g4_golden_read(g, s, f, &err), G4_OK);
    for (int i = 0; i < 24; i++) ck_assert(f[i] == made(i));
    /* stored [2][3][2], seen as three rows of 2 x 2 */
    s = find(g, "activations/shared_kv/sliding_attention/key", G4_GOLDEN_F32, 3, 4);
    ck_assert_int_eq(g4_golden_read(g, s, f, &err), G4_OK);
    static const int order[] = { 0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11 };
    for (int i = 0; i < 12; i++) ck_assert(f[i] == made(order[i]));
    ck_assert_int_eq(g4_golden_ids(g, "inputs/drafted", &arena, &ids, &n, &err), G4_OK);
    ck_assert(n == 2 && ids[0] == 5 && ids[1] == 6);
    ck_assert_int_eq(g4_golden_ids(g, "inputs/next_token", &arena, &ids, &n, &err), G4_OK);
    ck_assert(n == 1 && ids[0] == 5);
    ck_assert_int_eq(g4_golden_ids(g, "inputs/generated", &arena, &ids, &n, &err), G4_EINPUT);
    g4_arena_free(&arena);
    g4_golden_close(g);
}
END_TEST

/* The order of computation is what names the first wrong step. */
START_TEST(lists_in_order)
{
    static const char *const order[] = {
        "inputs/input_ids", "inputs/mm_token_type_ids", "activations/embeddings",
        "activations/masks/full_attention", "activations/layers/00/self_attn/q_norm",
        "activations/layers/00/output", "activations/logits", "inputs/next_token",
        "activations/shared_kv/sliding_attention/key", "activations/mtp/step0/hidden",
        "inputs/drafted",
    };
    g4_golden *g;
    ck_assert_int_eq(g4_golden_open(&g, DATA "good.h5", 0, &err), G4_OK);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        ck_assert_str_eq(g4_golden_at(g, i)->path, order[i]);
    g4_golden_close(g);
}
END_TEST

START_TEST(fills_a_prompt_with_defaults)
{
    g4_golden *g;
    g4_prompt p;
    g4_arena arena = { NULL };
    ck_assert_int_eq(g4_golden_open(&g, DATA "good.h5", 0, &err), G4_OK);
    ck_assert_int_eq(g4_golden_prompt(g, &p, &arena, &err), G4_OK);
    ck_assert_int_eq(p.n, 3);
    for (int t = 0; t < 3; t++) {
        ck_assert_int_eq(p.ids[t], 2 + t);
        ck_assert_int_eq(p.positions[t], t);
        ck_assert_int_eq(p.types[t], G4_TEXT);
    }
    ck_assert(p.images.count == 0 && p.frames.count == 0 && p.videos == 0 && p.clips == 0);
    g4_arena_free(&arena);
    g4_golden_close(g);
}
END_TEST

/* ---- writing ---- */

enum { T = 37, K = 3, H = 5, CLIPS = 2, FRAMES = 11 };
static float cells[CLIPS * FRAMES * 64 + T * 4096];

/* A set cut into pieces of step rows, the odd pieces first. */
static void put_pieces(g4_golden_writer *w, const char *path, int rank, const int64_t *dims,
                       int64_t rows, int64_t cols, int64_t step)
{
    int id, again;
    ck_assert_msg(g4_golden_declare(w, path, G4_GOLDEN_F32, rank, dims, &id, &err) == G4_OK,
                  "%s", err.msg);
    ck_assert_int_eq(g4_golden_declare(w, path, G4_GOLDEN_F32, rank, dims, &again, &err), G4_OK);
    ck_assert_int_eq(id, again);
    for (int odd = 1; odd >= 0; odd--)
        for (int64_t r = odd * step; r < rows; r += 2 * step) {
            int64_t n = rows - r < step ? rows - r : step;
            ck_assert_msg(g4_golden_put(w, id, r, n, cells + r * cols, &err) == G4_OK, "%s",
                          err.msg);
        }
}

static void same_cells(g4_golden *g, const char *path, int64_t rows, int64_t cols)
{
    const g4_golden_set *s = find(g, path, G4_GOLDEN_F32, rows, cols);
    size_t bytes = (size_t)(rows * cols) * sizeof(float);
    float *f = malloc(bytes);
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(g4_golden_read(g, s, f, &err), G4_OK);
    ck_assert_msg(memcmp(f, cells, bytes) == 0, "%s", path);
    free(f);
}

START_TEST(writes_rows_in_any_order_and_reads_them_back)   /* _i: rows at once */
{
    static const int64_t heads[] = { K, T, H }, clips[] = { CLIPS, FRAMES, 64 };
    static const int64_t norm[] = { T, K, H }, wide[] = { T, 4096 }, hidden[] = { 64 };
    char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
    g4_golden_writer *w;
    g4_golden *g;
    tempdir_make(dir);
    tempdir_path(path, dir, "out.h5");
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) cells[i] = (float)i * 0.37f;
    cells[7] = NAN;   /* kept as it is */
    ck_assert_int_eq(g4_golden_create(&w, path, &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "dtype", "float32", &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "prompt", "\xe2\x96\x81 \"x\"\n", &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_int(w, "image_tokens", 280, &err), G4_OK);
    put_pieces(w, "activations/shared_kv/full_attention/key", 3, heads, T, K * H, _i);
    put_pieces(w, "activations/audio/soft_tokens", 3, clips, CLIPS * FRAMES, 64, _i);
    put_pieces(w, "activations/layers/12/self_attn/k_norm", 3, norm, T, K * H, _i);
    put_pieces(w, "activations/layers/12/mlp/gate_proj", 2, wide, T, 4096, _i);
    put_pieces(w, "activations/mtp/step10/hidden", 1, hidden, 1, 64, _i);
    ck_assert_msg(g4_golden_commit(w, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(tempdir_count(dir), 1);
    ck_assert_msg(g4_golden_open(&g, path, 0, &err) == G4_OK, "%s", err.msg);
    ck_assert_str_eq(g4_golden_text(g, "prompt"), "\xe2\x96\x81 \"x\"\n");
    ck_assert_str_eq(g4_golden_text(g, "image_tokens"), "280");
    same_cells(g, "activations/shared_kv/full_attention/key", T, K * H);
    same_cells(g, "activations/audio/soft_tokens", CLIPS * FRAMES, 64);
    same_cells(g, "activations/layers/12/self_attn/k_norm", T, K * H);
    same_cells(g, "activations/layers/12/mlp/gate_proj", T, 4096);
    same_cells(g, "activations/mtp/step10/hidden", 1, 64);
    g4_golden_close(g);
    tempdir_remove(dir);
}
END_TEST

START_TEST(writes_and_reads_a_whole_prompt)
{
    int32_t ids[] = { 2, 9, 9 }, positions[] = { 5, 6, 7 }, xy[] = { 0, 0, -1, -1 };
    int32_t frames[] = { 1 };
    int8_t types[] = { 0, 1, 3 };
    uint8_t mask[] = { 1, 0 };
    float pixels[24], samples[10];
    for (int i = 0; i < 24; i++) pixels[i] = made(i);
    for (int i = 0; i < 10; i++) samples[i] = made(i);
    g4_prompt q, p = { .n = 3, .ids = ids, .positions = positions, .types = types,
                       .images = { 1, 2, 12, pixels, xy }, .frames = { 1, 2, 12, pixels, xy },
                       .videos = 1, .num_frames_per_video = frames,
                       .clips = 1, .clip_frames = 2, .frame = 5,
                       .input_features = samples, .input_features_mask = mask };
    char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
    g4_golden_writer *w;
    g4_golden *g;
    g4_arena arena = { NULL };
    tempdir_make(dir);
    tempdir_path(path, dir, "prompt.h5");
    ck_assert_int_eq(g4_golden_create(&w, path, &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "dtype", "float32", &err), G4_OK);
    ck_assert_msg(g4_golden_write_prompt(w, &p, &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(g4_golden_commit(w, &err), G4_OK);
    ck_assert_int_eq(g4_golden_open(&g, path, 0, &err), G4_OK);
    ck_assert_msg(g4_golden_prompt(g, &q, &arena, &err) == G4_OK, "%s", err.msg);
    ck_assert(q.n == 3 && q.images.count == 1 && q.images.budget == 2 && q.images.patch == 12);
    ck_assert(q.frames.count == 1 && q.videos == 1 && q.num_frames_per_video[0] == 1);
    ck_assert(q.clips == 1 && q.clip_frames == 2 && q.frame == 5);
    ck_assert_mem_eq(q.ids, ids, sizeof ids);
    ck_assert_mem_eq(q.positions, positions, sizeof positions);
    ck_assert_mem_eq(q.types, types, sizeof types);
    ck_assert_mem_eq(q.images.pixels, pixels, sizeof pixels);
    ck_assert_mem_eq(q.frames.positions, xy, sizeof xy);
    ck_assert_mem_eq(q.input_features, samples, sizeof samples);
    ck_assert_mem_eq(q.input_features_mask, mask, sizeof mask);
    g4_golden_close(g);
    g4_arena_free(&arena);
    tempdir_remove(dir);
}
END_TEST

static void assert_words(const char *name, const char *words)
{
    ck_assert_msg(strstr(err.msg, words) != NULL, "%s: '%s' lacks '%s'", name, err.msg, words);
}

START_TEST(refuses_unfinished_and_misfitting_writes)
{
    static const int64_t dims[] = { 4, 8 }, other[] = { 8, 4 };
    static const float row[32];
    char dir[TEMPDIR_MAX], path[TEMPDIR_MAX];
    int id;
    g4_golden_writer *w;
    const char *name = "activations/embeddings";
    tempdir_make(dir);
    tempdir_path(path, dir, "x.h5");
    tempdir_write(dir, "x.h5", "old", 3);
    ck_assert_int_eq(g4_golden_create(&w, path, &err), G4_OK);
    ck_assert_int_eq(g4_golden_declare(w, name, G4_GOLDEN_I32, 2, dims, &id, &err), G4_EINPUT);
    ck_assert_int_eq(g4_golden_declare(w, name, G4_GOLDEN_F32, 1, dims, &id, &err), G4_EINPUT);
    ck_assert_int_eq(g4_golden_declare(w, name, G4_GOLDEN_F32, 2, dims, &id, &err), G4_OK);
    ck_assert_int_eq(g4_golden_declared(w, name), id);
    ck_assert_int_eq(g4_golden_declare(w, name, G4_GOLDEN_F32, 2, other, &id, &err), G4_EINPUT);
    id = g4_golden_declared(w, name);
    ck_assert_int_eq(g4_golden_put(w, id, 3, 2, row, &err), G4_EINPUT);
    ck_assert_int_eq(g4_golden_put(w, id, -1, 1, row, &err), G4_EINPUT);
    ck_assert_int_eq(g4_golden_put(w, id, 0, 3, row, &err), G4_OK);
    ck_assert_int_eq(g4_golden_commit(w, &err), G4_EINPUT);
    assert_words("unfinished", "1 rows were never written");
    ck_assert_int_eq(tempdir_count(dir), 1);   /* the old file, and no temporary one */
    FILE *f = fopen(path, "rb");
    char old[4] = "";
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(old, 1, 4, f), 3);
    fclose(f);
    ck_assert_str_eq(old, "old");
    tempdir_remove(dir);
}
END_TEST

START_TEST(refuses_an_endless_attribute)
{
    enum { LONG = 1 << 20 };
    char dir[TEMPDIR_MAX], path[TEMPDIR_MAX], *text = malloc(LONG + 1);
    g4_golden_writer *w;
    g4_golden *g;
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', LONG);
    text[LONG] = 0;
    tempdir_make(dir);
    tempdir_path(path, dir, "x.h5");
    ck_assert_int_eq(g4_golden_create(&w, path, &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "dtype", "float32", &err), G4_OK);
    ck_assert_int_eq(g4_golden_put_text(w, "prompt", text, &err), G4_OK);
    ck_assert_int_eq(g4_golden_commit(w, &err), G4_OK);
    ck_assert_int_eq(g4_golden_open(&g, path, 0, &err), G4_EINPUT);
    assert_words("x.h5", "attribute 'prompt' is over 1 MiB long");
    free(text);
    tempdir_remove(dir);
}
END_TEST

/* ---- hostile files ---- */

/* Everything a user of the file does with it. */
static g4_status use_whole(const char *path, int flags)
{
    g4_golden *g;
    g4_prompt p;
    g4_arena arena = { NULL };
    G4_TRY(g4_golden_open(&g, path, flags, &err));
    g4_status s = G4_OK;
    for (size_t i = 0; i < g4_golden_count(g) && s == G4_OK; i++) {
        const g4_golden_set *set = g4_golden_at(g, i);
        void *data = malloc((size_t)g4_golden_values(set) * g4_golden_size(set->type));
        s = data ? g4_golden_read(g, set, data, &err) : g4_nomem(&err, path);
        free(data);
    }
    if (s == G4_OK) s = g4_golden_prompt(g, &p, &arena, &err);
    g4_arena_free(&arena);
    g4_golden_close(g);
    return s;
}

START_TEST(names_the_fault_of_each_bad_file)
{
    char line[512], path[600];
    int files = 0;
    FILE *f = fopen(DATA "bad/expected.txt", "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        char *words = strchr(line, '\t');
        ck_assert_ptr_nonnull(words);
        *words++ = 0;
        words[strcspn(words, "\n")] = 0;
        snprintf(path, sizeof path, DATA "bad/%s.h5", line);
        int crasher = strncmp(line, "crash_", 6) == 0;
        for (int flags = 0; flags <= (crasher ? 0 : G4_GOLDEN_DIRECT); flags++) {
            err = (g4_err){ G4_OK, "" };
            ck_assert_msg(use_whole(path, flags) == G4_EINPUT, "%s %d: %s", line, flags, err.msg);
            assert_words(line, words);
            ck_assert_msg(strncmp(err.msg, path, strlen(path)) == 0, "%s", err.msg);
        }
        files++;
    }
    fclose(f);
    ck_assert_int_ge(files, 60);
}
END_TEST

START_TEST(says_why_a_file_cannot_be_opened)
{
    g4_golden *g;
    ck_assert_int_eq(g4_golden_open(&g, DATA "none.h5", 0, &err), G4_EIO);
    assert_words("none.h5", "No such file");
    ck_assert_int_eq(g4_golden_open(&g, DATA, 0, &err), G4_EINPUT);
    assert_words("folder", "a folder without .npy files");
    ck_assert_int_eq(g4_golden_open(&g, "/dev/null", 0, &err), G4_EINPUT);
    assert_words("device", "not a regular file");
    ck_assert_ptr_null(g);
}
END_TEST

/* A child that crashes or hangs while it reads is an error, and is gone. */
START_TEST(survives_the_child)
{
    static const struct {
        int signal;
        const char *words;
    } cases[] = { { SIGSEGV, "crashed on it (signal 11)" }, { SIGABRT, "(signal 6)" },
                  { SIGSTOP, "takes too long" } };
    g4_child c;
    g4_listing list;
    g4_arena arena = { NULL };
    float f[24];
    ck_assert_int_eq(g4_child_start(&c, DATA "good.h5", &list, &arena, &err), G4_OK);
    pid_t pid = c.pid;
    c.seconds = 1;
    ck_assert_int_eq(kill(pid, cases[_i].signal), 0);
    ck_assert_int_eq(g4_child_read(&c, 6, f, sizeof f, &err), G4_EINPUT);
    assert_words("child", cases[_i].words);
    ck_assert_int_ne(kill(pid, 0), 0);
    ck_assert_int_eq(g4_child_read(&c, 6, f, sizeof f, &err), G4_EINPUT);
    assert_words("child", "has ended");
    g4_child_stop(&c);
    g4_arena_free(&arena);
}
END_TEST

/* Our own allocations, one after the other; the child has a copy of the window. */
START_TEST(survives_failing_allocations)   /* _i: G4_GOLDEN_DIRECT or not */
{
    for (int persistent = 0; persistent <= 1; persistent++)
        for (long n = 1;; n++) {
            fault_alloc_arm(n, persistent);
            g4_status s = use_whole(DATA "good.h5", _i);
            fault_end();
            ck_assert_int_eq(fault_live(), 0);
            if (!fault_fired() && s == G4_OK) break;
            ck_assert_msg(s == G4_ENOMEM, "%ld: %d %s", n, (int)s, err.msg);
            ck_assert_int_lt(n, 1000);
        }
}
END_TEST

Suite *check_golden(void)
{
    Suite *s = suite_create("golden");
    TCase *t = tcase_create("read");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, reads_what_h5py_wrote, 0, 2);
    tcase_add_test(t, lists_in_order);
    tcase_add_test(t, fills_a_prompt_with_defaults);
    suite_add_tcase(s, t);
    t = tcase_create("write");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, writes_rows_in_any_order_and_reads_them_back, 1, 5);
    tcase_add_test(t, writes_and_reads_a_whole_prompt);
    tcase_add_test(t, refuses_unfinished_and_misfitting_writes);
    tcase_add_test(t, refuses_an_endless_attribute);
    suite_add_tcase(s, t);
    t = tcase_create("hostile");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 120);   /* a looping file is given 15 s */
    tcase_add_test(t, names_the_fault_of_each_bad_file);
    tcase_add_test(t, says_why_a_file_cannot_be_opened);
    tcase_add_loop_test(t, survives_the_child, 0, 3);
    tcase_add_loop_test(t, survives_failing_allocations, 0, 2);
    suite_add_tcase(s, t);
    return s;
}
