/* SPDX-License-Identifier: Apache-2.0
 * What quantize decides: each tensor's format as llama-quantize decides (its own listing for
 * the 12B), recipes, the projector file. */
#include "harness/check/program.h"
#include "harness/gguf_mix.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"
#include "ref/file/gguf_names.h"
#include "ref/model/weights.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *check_quantize(void);

static char dir[TEMPDIR_MAX];
static program_result run;
static g4_err err;

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

static void gemma4(const char *line)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    program_run(&run, line, places, NULL, RLIM_INFINITY);
}

static void must(const char *line)
{
    gemma4(line);
    ck_assert_msg(run.code == 0, "%s: %s", line, run.err);
}

/* ---- mixes ---- */

enum { LAYERS = 48 };

typedef struct shape12b {
    g4_config config;
    g4_shape shape;
    g4_arena arena;
    g4_json json;
} shape12b;

static void open_12b(shape12b *s)
{
    const char *backbone, *drafter;
    ck_assert(g4_shape_named("12b", &backbone, &drafter));
    ck_assert(g4_json_parse(&s->json, "12b", backbone, strlen(backbone), &err) == G4_OK);
    ck_assert_msg(g4_config_parse(&s->config, &s->json, &s->arena, &err) == G4_OK, "%s", err.msg);
    ck_assert(g4_shape_list(&s->shape, &s->config, 4, &s->arena, "12b", &err) == G4_OK);
}

static char letter(g4_dtype t)
{
    static const struct { g4_dtype t; char c; } letters[] = {
        { G4_Q8_0, '8' },   { G4_Q6_K, '6' },   { G4_Q5_K, '5' }, { G4_Q4_K, '4' },
        { G4_Q3_K, '3' },   { G4_Q2_K, '2' },   { G4_IQ4_XS, 'x' }, { G4_IQ4_NL, 'n' },
        { G4_Q5_1, 'B' },   { G4_Q5_0, 'A' },   { G4_Q4_1, 'b' }, { G4_Q4_0, 'a' },
    };
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (letters[i].t == t) return letters[i].c;
    return '?';
}

/* The listing's line for a mix, from our choices. */
static void list(char *out, size_t size, const shape12b *s, const char *type, int weighed)
{
    static const char *const names[] = { "attn_v", "ffn_down", "attn_output" };
    char name[G4_TENSOR_NAME], rows[3][LAYERS + 1] = { "" }, embed = 0, plain = 0;
    g4_mix_rules r = { .config = &s->config, .weighed = weighed };
    g4_gguf_change change;
    int layer;
    ck_assert(g4_mix_find(&r.mix, type, &err) == G4_OK);
    for (int i = 0; i < 3; i++) memset(rows[i], '-', LAYERS);
    for (size_t i = 0; i < s->shape.count; i++) {
        const g4_shape_tensor *t = &s->shape.list[i];
        ck_assert(g4_gguf_from_hf(name, t->name, 0, &change));
        char c = letter(g4_mix_choose(&r, name, t));
        int which = 0;
        if (strcmp(name, "token_embd.weight") == 0) embed = c;
        if (t->role != G4_ROLE_LINEAR || sscanf(name, "blk.%d.", &layer) != 1) continue;
        const char *base = strchr(name + 4, '.') + 1;
        while (which < 3 && strncmp(base, names[which], strlen(names[which])) != 0) which++;
        if (which < 3) rows[which][layer] = c;
        else plain = c;
    }
    snprintf(out, size, "%s %s %c %c %s %s %s\n", type, weighed ? "weighed" : "plain", embed,
             plain, rows[0], rows[1], rows[2]);
}

START_TEST(mixes)
{
    shape12b s = { 0 };
    uint8_t *data;
    size_t size, lines = 0;
    char ours[512], type[16];
    open_12b(&s);
    ck_assert(g4_file_read("harness/check/data/quantize/mixes.txt", 1 << 20, &data, &size,
                           &err) == G4_OK);
    for (char *p = (char *)data, *end; *p; p = end + 1) {
        end = strchr(p, '\n');
        if (*p == '#') continue;
        ck_assert(sscanf(p, "%15s", type) == 1);
        list(ours, sizeof ours, &s, type, strncmp(p + strlen(type), " weighed", 8) == 0);
        ck_assert_msg(strncmp(ours, p, strlen(ours)) == 0, "ours: %sllama-quantize: %.170s", ours,
                      p);
        lines++;
    }
    ck_assert_uint_eq(lines, 38);
    free(data);
    g4_json_free(&s.json);
    g4_arena_free(&s.arena);
}
END_TEST

/* Blocks of 256 do not divide mini's rows: the next format of blocks of 32, or F16. */
START_TEST(narrow_rows)
{
    g4_config c = { .num_hidden_layers = 1, .num_attention_heads = 4, .kv_heads = { 1, 1 } };
    static const struct { const char *type; int64_t cols; g4_dtype to; } rows[] = {
        { "q2_k", 96, G4_Q4_0 },  { "q3_k", 96, G4_Q4_0 },    { "q4_k", 96, G4_Q5_0 },
        { "q5_k", 96, G4_Q5_1 },  { "q6_k", 96, G4_Q8_0 },    { "iq4_xs", 96, G4_IQ4_NL },
        { "q4_k", 48, G4_F16 },   { "q8_0", 48, G4_F16 },     { "bf16", 48, G4_BF16 },
        { "Q4_K_M", 256, G4_Q4_K },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        g4_mix_rules r = { .config = &c };
        g4_shape_tensor t = { .role = G4_ROLE_LINEAR, .rank = 2, .shape = { 8, rows[i].cols } };
        ck_assert(g4_mix_find(&r.mix, rows[i].type, &err) == G4_OK);
        ck_assert_int_eq(g4_mix_choose(&r, "blk.0.attn_q.weight", &t), rows[i].to);
    }
}
END_TEST

/* ---- recipes ---- */

static const char recipe[] =
    "# a comment = q8_0\n\ntoken_embd=q5_0 blk\\.\\d\\.attn_(q|k)=F16\t# another\r\n"
    "ffn_down=q4_1\nffn_=q8_0\nnorm=q4_0";

START_TEST(recipes)
{
    static const char *const lines[] = {
        "token_embd.weight                    q5_0 ", "blk.0.attn_q.weight                  f16 ",
        "blk.1.attn_k.weight                  f16 ",  "blk.0.attn_output.weight             q4_0 ",
        "blk.1.ffn_down.weight                bf16 ", "blk.1.ffn_up.weight                  q8_0 ",
        "blk.0.ffn_down.weight                q4_1 ", "blk.0.attn_norm.weight               f32 ",
    };
    tempdir_write(dir, "r.txt", recipe, strlen(recipe));
    must("quantize --model golden/tiny/even/model --type q4_0 --recipe %d/r.txt --dry-run "
         "--tensor-type blk.1.ffn_down=bf16 --tensor-type attn_q_normal=q8_0");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(strstr(run.out, lines[i]), "%s\n%s", lines[i], run.out);
    ck_assert_msg(strstr(run.err, "note: 2 overrides matched no tensor, the first is "
                         "attn_q_normal=q8_0\n"), "%s", run.err);
    ck_assert_int_eq(tempdir_count(dir), 1);
}
END_TEST

static const struct { const char *text, *says; } bad_recipes[] = {
    { "ffn_down", "line 1: ffn_down: expected PATTERN=TYPE" },
    { "\n\nx=q9", "line 3: x=q9: expected PATTERN=TYPE" },
    { "x=iq2_xs", "x=iq2_xs: expected PATTERN=TYPE, TYPE a format that can be written" },
    { "=q8_0", "a pattern of 1 to 256 bytes" },
    { "a{1,9}=q8_0", "a pattern of 1 to 256 bytes without {}" },
    { "a(b=q8_0", "line 1: a(b: is no regular expression" },
    { "[=q8_0", "is no regular expression" },
    { "a=q8_0\x1b[2J", "expected PATTERN=TYPE" },
};

START_TEST(bad_words)
{
    static const char line[] =
        "quantize --model golden/tiny/even/model --type q4_0 --recipe %d/r.txt --out %d/o.gguf";
    for (size_t i = 0; i < sizeof bad_recipes / sizeof *bad_recipes; i++) {
        tempdir_write(dir, "r.txt", bad_recipes[i].text, strlen(bad_recipes[i].text));
        gemma4(line);
        program_expect_error(&run, bad_recipes[i].says);
    }
    tempdir_write(dir, "r.txt", "a=q8_0\0b=q8_0", 13);
    gemma4(line);
    program_expect_error(&run, "r.txt: has a NUL at byte 6");
    gemma4("quantize --model golden/tiny/even/model --type q4_0 --recipe %d/no --out %d/o.gguf");
    program_expect_error(&run, "no: cannot open");
    gemma4("quantize --model golden/tiny/even/model --type q4_0 --tensor-type x --out %d/o.gguf");
    program_expect_error(&run, "--tensor-type: x: expected PATTERN=TYPE");
    ck_assert_int_eq(tempdir_count(dir), 1);
}
END_TEST

/* ---- projector ---- */

static const struct { const char *type; g4_dtype projection, patches; } projectors[] = {
    { "f32", G4_F32, G4_F32 }, { "f16", G4_F16, G4_F16 }, { "bf16", G4_BF16, G4_F32 },
};

/* A file's row widened; what the folder has, which was BF16, comes back whole but in F16. */
static void same_values(const g4_tensor *a, const g4_tensor *b)
{
    int64_t n = 1;
    ck_assert_int_eq(a->rank, b->rank);
    for (int i = 0; i < a->rank; n *= a->shape[i++]) ck_assert_int_eq(a->shape[i], b->shape[i]);
    float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
    ck_assert(x && y);
    g4_dtype_get(a->dtype)->unpack(x, a->data, n);
    g4_dtype_get(b->dtype)->unpack(y, b->data, n);
    if (b->dtype == G4_F16) {   /* what packing the folder's values gives */
        uint16_t *half = malloc((size_t)n * sizeof *half);
        ck_assert_ptr_nonnull(half);
        g4_pack_f16(half, x, NULL, n);
        g4_unpack_f16(x, half, n);
        free(half);
    }
    ck_assert_msg(memcmp(x, y, (size_t)n * sizeof *x) == 0, "%s", a->name);
    free(x);
    free(y);
}

START_TEST(projector)
{
    char pair[2 * TEMPDIR_MAX + 32], line[256];
    g4_model *a, *b;
    int media = 0;
    snprintf(line, sizeof line, "quantize --model golden/tiny/small/model --type %s "
             "--out %%d/m.gguf --mmproj %%d/p.gguf", projectors[_i].type);
    must(line);
    snprintf(pair, sizeof pair, "%s/m.gguf,%s/p.gguf", dir, dir);
    ck_assert_msg(g4_model_open(&a, "golden/tiny/small/model", &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_model_open(&b, pair, &err) == G4_OK, "%s", err.msg);
    ck_assert_uint_eq(g4_store_count(a->store), g4_store_count(b->store));
    for (size_t i = 0; i < g4_store_count(a->store); i++) {
        const g4_tensor *t = g4_store_at(a->store, i), *u = g4_store_find(b->store, t->name);
        ck_assert_msg(u != NULL, "%s", t->name);
        if (!strstr(t->name, "vision") && !strstr(t->name, "audio")) continue;
        same_values(t, u);
        media++;
    }
    ck_assert_int_eq(media, 11);
    ck_assert_int_eq(b->vision_projection.dtype, projectors[_i].projection);
    ck_assert_int_eq(b->patch_dense.dtype, projectors[_i].patches);
    ck_assert_int_eq(b->config.mm_posemb_size, a->config.mm_posemb_size);
    ck_assert(b->config.vision_eps == a->config.vision_eps);
    g4_model_close(a);
    g4_model_close(b);
}
END_TEST

/* From both files pictures and sound go through the model as from the folder. */
START_TEST(projector_runs)
{
    must("quantize --model golden/tiny/small/model --type bf16 --out %d/m.gguf "
         "--mmproj %d/p.gguf");
    must("verify --model %d/m.gguf --mmproj %d/p.gguf golden/tiny/small/images2.h5 "
         "golden/tiny/small/audio.h5");
}
END_TEST

START_TEST(bad_commands)
{
    static const struct { const char *line, *says; } lines[] = {
        { "quantize --model golden/tiny/small/model --type q4_0 --mmproj %d/p.gguf",
          "--mmproj: is written with --type f32, f16, bf16 or q8_0" },
        { "quantize --model golden/tiny/small/model --type q4_0", "--out, --mmproj, --dry-run" },
        { "quantize --model golden/tiny/small/model/assistant --type bf16 --mmproj %d/p.gguf",
          "has no media tensors" },
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        gemma4(lines[i].line);
        program_expect_error(&run, lines[i].says);
    }
    ck_assert_int_eq(tempdir_count(dir), 0);
}
END_TEST

Suite *check_quantize(void)
{
    Suite *s = suite_create("quantize");
    TCase *tc = tcase_create("quantize");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, mixes);
    tcase_add_test(tc, narrow_rows);
    tcase_add_test(tc, recipes);
    tcase_add_test(tc, bad_words);
    tcase_add_loop_test(tc, projector, 0, sizeof projectors / sizeof *projectors);
    tcase_add_test(tc, projector_runs);
    tcase_add_test(tc, bad_commands);
    suite_add_tcase(s, tc);
    return s;
}
