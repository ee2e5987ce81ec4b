/* SPDX-License-Identifier: Apache-2.0
 * Every row of kernels.def against the definition it replaces: same bits on every
 * case of kernel_cases.c.  The definitions themselves: against a float64 evaluation
 * within a derived bound, and by the digest of their outputs, which must be the
 * same on every machine and compiler (kernels_opt/kernels.sha256). */
#include "harness/check/amx_emulated.h"
#include "harness/check/kernel_cases.h"
#include "harness/check/suite.h"
#include "kernels_opt/kernels.h"
#include "kernels_opt/pair.h"
#include "kernels_opt/panel.h"
#include "ref/dtype/dtype.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *check_kernels(void);

static const char digest_file[] = "kernels_opt/kernels.sha256";

/* All cases of an op: bits of `fast` against those of the definitions. */
static void same_bits(const char *name, const char *op, int dtype, const g4_ops *fast)
{
    g4_ops ref = g4_ops_definitions();
    int cases = kernel_case_count(op);
    ck_assert_msg(cases > 0, "%s: no cases", name);
    for (int i = 0; i < cases; i++) {
        kernel_run a, b;
        kernel_case_run(&a, &ref, op, (g4_dtype)dtype, i);
        kernel_case_run(&b, fast, op, (g4_dtype)dtype, i);
        ck_assert_msg(!a.fault, "definition, case %d (%s): %s", i, a.what, a.fault);
        ck_assert_msg(!b.fault, "%s, case %d (%s): %s", name, i, b.what, b.fault);
        int64_t at = kernel_run_differs(&a, &b);
        ck_assert_msg(at < 0, "%s, case %d (%s): output %lld is %a, defined %a", name, i, b.what,
                      (long long)at, (double)b.out[at < 0 ? 0 : at],
                      (double)a.out[at < 0 ? 0 : at]);
        kernel_run_free(&a);
        kernel_run_free(&b);
    }
}

/* Row _i of kernels.def alone over the definitions. */
START_TEST(same_bits_as_definition)
{
    int count;
    const g4_kernel *k = &g4_kernels(&count)[_i];
    char name[KERNEL_TEXT], isa[G4_ISA_TEXT];
    snprintf(name, sizeof name, "g4_%s_%s_%s", k->op, k->dtype, g4_isa_print(isa, k->isa));
    if (!(k->isa & g4_cpu_isas())) {
        check_skip(name, "this CPU lacks the instructions");
        return;
    }
    int dtype = g4_dtype_by_name(k->dtype);
    ck_assert_msg(dtype >= 0, "%s: no such number format", name);
    g4_ops fast = g4_ops_definitions();
    k->put(&fast);
    same_bits(name, k->op, dtype, &fast);
}
END_TEST

/* What surrounds the tile instructions, on every CPU that can run that much. */
START_TEST(amx_on_emulated_tiles)
{
    g4_ops fast = g4_ops_definitions();
    if (!g4_panel_format_get((g4_dtype)_i).blocks) return;
    if (amx_emulated_put(&fast)) same_bits("emulated AMX", "linear_panel", _i, &fast);
    else check_skip("emulated AMX", "this CPU lacks AVX-512 VNNI");
}
END_TEST

/* "<64 digits>  <op>_<dtype>" a line */
static int stored_digest(const char *name, char hex[G4_SHA256_HEX])
{
    char line[256], other[128];
    FILE *f = fopen(digest_file, "r");
    int found = 0;
    ck_assert_msg(f != NULL, "%s: cannot open", digest_file);
    while (!found && fgets(line, sizeof line, f))
        found = sscanf(line, "%64[0-9a-f]  %127s", hex, other) == 2 && strcmp(other, name) == 0;
    fclose(f);
    return found;
}

static int has_kernel(const char *op, int dtype)
{
    int count, found = strncmp(op, "linear", 6) != 0;
    const g4_kernel *k = g4_kernels(&count);
    for (int i = 0; i < count; i++)
        found |= strcmp(k[i].op, op) == 0 && g4_dtype_by_name(k[i].dtype) == dtype;
    return found;
}

static void check_digest(const char *op, int dtype)
{
    char name[128], want[G4_SHA256_HEX], have[G4_SHA256_HEX], fault[KERNEL_TEXT];
    g4_ops ref = g4_ops_definitions();
    snprintf(name, sizeof name, "%s_%s", op, g4_dtype_get((g4_dtype)dtype)->name);
    if (!stored_digest(name, want)) {   /* plain unpacking has check_formats.c's digests */
        ck_assert_msg(!has_kernel(op, dtype), "%s: no line for %s", digest_file, name);
        return;
    }
    ck_assert_msg(!kernel_digest(&ref, op, (g4_dtype)dtype, have, fault), "%s", fault);
    ck_assert_msg(strcmp(want, have) == 0, "%s: definition gives %s, file says %s", name, have,
                  want);
}

START_TEST(linear_digest)
{
    check_digest("linear", _i);
}
END_TEST

START_TEST(linear_panel_digest)
{
    if (g4_panel_format_get((g4_dtype)_i).blocks) check_digest("linear_panel", _i);
}
END_TEST

START_TEST(linear_pair_digest)
{
    check_digest("linear_pair", G4_BF16);
}
END_TEST

static const char *const row_ops[] = {
    "round_x", "round_pair", "rmsnorm", "layernorm", "rope", "attend", "attend_span", "span_merge",
    "gelu_mul", "add_scale", "softcap",
};

START_TEST(op_digest)
{
    check_digest(row_ops[_i], G4_F32);
}
END_TEST

/* One output: m = ceil(n / 16) fused multiply-adds in its longest lane and 4 adds
 * of the fold, each with relative error u = 2^-24, so every term is off by at most
 * a factor (1 + u)^(m + 4): |err| <= gamma sum |w x|, gamma = (m + 4) u / (1 - (m + 4) u).
 * Each of the n + 15 roundings may also underflow: 2^-150 each.  The float64 sum
 * used as truth has n + 1 roundings of 2^-53 (products of float32 are exact). */
static void check_bound(const g4_linear_args *a, int64_t r, const float *row)
{
    const double u = 0x1p-24;
    int64_t n = a->w->cols;
    double steps = (double)((n + 15) / 16 + 4), gamma = steps * u / (1 - steps * u);
    for (int64_t t = 0; t < a->tokens; t++) {
        double sum = 0, size = 0;
        for (int64_t i = 0; i < n; i++) {
            double p = (double)row[i] * (double)a->x[t * a->ldx + i];
            sum += p;
            size += fabs(p);
        }
        double bound = gamma * size + (double)(n + 15) * 0x1p-150
                       + (double)(n + 1) * 0x1p-53 / (1 - (double)(n + 1) * 0x1p-53) * size;
        double err = fabs((double)a->y[t * a->ldy + r] - sum);
        ck_assert_msg(err <= bound, "cols %lld: error %g over %g", (long long)n, err, bound);
    }
}

/* cols 1..., finite fills; the definition on float32 weights. */
START_TEST(definition_within_bound)
{
    static const int64_t cols[] = { 1, 16, 17, 100, 640, 3840, 15360 };
    static const kernel_fill fills[] = { FILL_PLAIN, FILL_DENORMAL, FILL_CANCEL, FILL_ZERO };
    enum { ROWS = 3, TOKENS = 4 };
    kernel_run run = { .fill = fills[_i % 4], .seed = (uint64_t)_i };
    int64_t n = cols[_i / 4];
    float *w = kernel_floats(&run, ROWS * n), *x = kernel_floats(&run, TOKENS * n);
    float *y = kernel_floats(&run, TOKENS * ROWS), *scratch = kernel_floats(&run, n);
    ck_assert(w && x && y && scratch);
    g4_mat mat = { G4_F32, ROWS, n, (size_t)n * sizeof *w, w, NULL };
    g4_linear_args a = { y, ROWS, x, n, TOKENS, &mat, NULL };
    g4_ops ops = g4_ops_definitions();
    ops.linear[G4_F32](&a, 0, ROWS, scratch);
    for (int64_t r = 0; r < ROWS; r++) check_bound(&a, r, w + r * n);
    kernel_run_free(&run);
}
END_TEST

static const int64_t pair_sizes[] = { 1, 31, 32, 33, 640, 3840, 15360 };
enum { PAIR_SIZES = sizeof pair_sizes / sizeof *pair_sizes };

/* x' is off by up to 2^-8 of each |x| (the sums' share as above, two steps for each pair;
 * BF16 products are exact), and each of the steps may flush what is below 2^-126. */
START_TEST(pair_within_bound)
{
    const double u = 0x1p-24;
    int64_t n = pair_sizes[_i];
    kernel_run run = { .fill = _i % 2 ? FILL_CANCEL : FILL_PLAIN, .seed = (uint64_t)_i };
    float *wide = kernel_floats(&run, n), *x = kernel_floats(&run, n), y = 0;
    unsigned char *w = kernel_buffer(&run, (size_t)n * 2, 1);
    unsigned char *xq = kernel_buffer(&run, (size_t)g4_pair_bytes(1, n), 1);
    ck_assert(wide && x && w && xq);
    g4_dtype_get(G4_BF16)->pack(w, wide, NULL, n);
    g4_dtype_get(G4_BF16)->unpack(wide, w, n);
    g4_mat mat = { G4_BF16, 1, n, (size_t)n * 2, w, NULL };
    g4_round_args round = { xq, x, n, 1, n, G4_BF16 };
    g4_linear_args a = { &y, 1, x, n, 1, &mat, xq };
    g4_ops ops = g4_ops_definitions();
    ops.round_pair(&round, 0, 1);
    ops.linear_pair(&a, 0, 1, NULL);
    double sum = 0, size = 0, steps = (double)(2 * ((n + 31) / 32) + 4);
    double gamma = steps * u / (1 - steps * u), lost = 0x1p-8;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)wide[i] * (double)x[i];
        size += fabs((double)wide[i] * (double)x[i]);
    }
    double bound = (lost + gamma * (1 + lost) + (double)(n + 1) * 0x1p-52) * size
                   + (double)(n + 15) * 0x1p-126;
    ck_assert_msg(fabs((double)y - sum) <= bound, "cols %lld: error %g over %g", (long long)n,
                  fabs((double)y - sum), bound);
    ck_assert_msg(n < 640 || (double)y != sum, "cols %lld: nothing was rounded", (long long)n);
    kernel_run_free(&run);
}
END_TEST

START_TEST(isa_lists)
{
    unsigned isas;
    char text[G4_ISA_TEXT];
    g4_err err;
    ck_assert_int_eq(g4_isa_parse(&isas, NULL, &err), G4_OK);
    ck_assert_uint_eq(isas, g4_cpu_isas());
    ck_assert_int_eq(g4_isa_parse(&isas, "c", &err), G4_OK);
    ck_assert_uint_eq(isas, G4_ISA_c);
    static const char all[] = "c,avx2,avxvnni,avx512,vnni,avx512bf16,amx,neon,dotprod";
    ck_assert_str_eq(g4_isa_print(text, G4_ISA_ALL), all);
    static const char *const bad[] = { "", "c,", ",c", "avx", "avx2 ", "c,sse9", "AVX2", "c;avx2" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(g4_isa_parse(&isas, bad[i], &err), G4_EINPUT);
        ck_assert_ptr_nonnull(strstr(err.msg, all));
    }
    for (unsigned isa = 1; isa < G4_ISA_ALL; isa <<= 1) {   /* lacking ones are named */
        g4_ops ops;
        int have = (isa & g4_cpu_isas()) != 0;
        ck_assert_int_eq(g4_isa_parse(&isas, g4_isa_print(text, isa), &err),
                         have ? G4_OK : G4_EINPUT);
        if (!have) ck_assert_ptr_nonnull(strstr(err.msg, text));
        ck_assert_int_eq(g4_ops_select(&ops, isa, &err), have ? G4_OK : G4_EINPUT);
    }
}
END_TEST

/* What g4_ops_select gives: the last row of kernels.def that the mask allows. */
START_TEST(last_row_wins)
{
    int count;
    const g4_kernel *k = g4_kernels(&count);
    g4_ops ops, want = g4_ops_definitions();
    for (int i = 0; i < count; i++) {
        if (k[i].isa & g4_cpu_isas()) k[i].put(&want);
        for (int j = 0; j < i; j++)
            if (strcmp(k[i].op, k[j].op) == 0 && strcmp(k[i].dtype, k[j].dtype) == 0)
                ck_assert_uint_gt(k[i].isa, k[j].isa);
    }
    ck_assert_int_eq(g4_ops_select(&ops, g4_cpu_isas(), NULL), G4_OK);
    ck_assert_mem_eq(&ops, &want, sizeof ops);
    want = g4_ops_definitions();
    ck_assert_int_eq(g4_ops_select(&ops, G4_ISA_c, NULL), G4_OK);
    ck_assert_mem_eq(&ops, &want, sizeof ops);
}
END_TEST

Suite *check_kernels(void)
{
    Suite *s = suite_create("kernels");
    TCase *t = tcase_create("kernels");
    int count;
    g4_kernels(&count);
    tcase_set_tags(t, "kernels");
    tcase_set_timeout(t, 300);   /* emulators and sanitizers are slow */
    tcase_add_loop_test(t, same_bits_as_definition, 0, count);
    tcase_add_loop_test(t, amx_on_emulated_tiles, 0, G4_DTYPE_COUNT);
    tcase_add_loop_test(t, linear_digest, 0, G4_DTYPE_COUNT);
    tcase_add_loop_test(t, linear_panel_digest, 0, G4_DTYPE_COUNT);
    tcase_add_test(t, linear_pair_digest);
    tcase_add_loop_test(t, op_digest, 0, (int)(sizeof row_ops / sizeof *row_ops));
    tcase_add_loop_test(t, definition_within_bound, 0, 7 * 4);
    tcase_add_loop_test(t, pair_within_bound, 0, PAIR_SIZES);
    tcase_add_test(t, isa_lists);
    tcase_add_test(t, last_row_wins);
    suite_add_tcase(s, t);
    return s;
}
