/* SPDX-License-Identifier: Apache-2.0
 * gemma4 bench: speed.  `--model` measures whole passes (bench_model.h), `--kernels` each
 * kernel by itself at the layer sizes of the 12B model [N1]; both next to what the machine can
 * do at best. */
#include "harness/bench_kernels.h"
#include "harness/bench_model.h"
#include "harness/bench_peers.h"
#include "harness/options.h"
#include "harness/shape.h"
#include "harness/text.h"
#include "ref/dtype/dtype.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const head[] = {
    "kernel", "size", "tokens", "time_us", "gflops", "gbytes_s", "share_of_peak",
};

enum { COLUMNS = sizeof head / sizeof *head };

static void print_head(const char *format)
{
    int csv = strcmp(format, "csv") == 0;
    for (int i = 0; i < COLUMNS; i++)
        printf(csv ? "%s%s" : "%s %s ", csv ? (i ? "," : "") : "|", head[i]);
    printf(csv ? "\n" : "|\n|---|---|---:|---:|---:|---:|---:|\n");
}

static void print_row(const char *format, const bench *b, const bench_row *r, int last)
{
    double s = bench_seconds(b, r), gflops = r->flops / s * 1e-9;
    const char *form = strcmp(format, "csv") == 0 ? "%s_%s_%s,%s,%lld,%.1f,%.1f,%.2f,%.4f\n"
                       : strcmp(format, "json") == 0
                           ? "    {\"kernel\": \"%s_%s_%s\", \"size\": \"%s\", \"tokens\": %lld, "
                             "\"time_us\": %.1f, \"gflops\": %.1f, \"gbytes_s\": %.2f, "
                             "\"share_of_peak\": %.4f}"
                           : "| %s_%s_%s | %s | %lld | %.1f | %.1f | %.2f | %.3f |\n";
    printf(form, r->op, r->dtype, r->isa_name, r->size, (long long)r->tokens, s * 1e6, gflops,
           r->bytes / s * 1e-9, bench_share(b, r));
    if (strcmp(format, "json") == 0) printf(last ? "\n" : ",\n");
}

/* The machine and the sums: in CSV as rows of the same columns. */
static void print_summary(const char *format, const bench *b)
{
    int csv = strcmp(format, "csv") == 0, json = strcmp(format, "json") == 0;
    const char *machine = csv ? "machine,fma_peak_f32,,,%.1f,,1\nmachine,read,,,,%.2f,\n"
                          : json ? "  \"fma_peak_gflops\": %.1f,\n  \"read_gbytes_s\": %.2f,\n"
                                 : "\nfloat32 FMA peak: %.1f GFLOP/s; reading memory: %.2f GB/s\n";
    const char *form = csv ? "prefill,%s %s %s all layers,%d,,%.1f,,%.4f\n"
                       : json ? "%s    {\"op\": \"%s\", \"weights\": \"%s\", \"isa\": \"%s\", "
                                "\"tokens\": %d, \"gflops\": %.1f, \"share_of_peak\": %.4f}"
                              : "prefill, all layers' %s, %s weights, %s: %d "
                                "tokens at %.1f GFLOP/s = %.3f of the peak\n";
    printf(machine, b->peak * 1e-9, b->read * 1e-9);
    if (json) printf("  \"prefill\": [");
    for (int i = 0; i < b->prefills; i++) {
        const bench_prefill *p = &b->prefill[i];
        if (json)
            printf(form, i ? ",\n" : "\n", p->op, p->dtype, p->isa, BENCH_PREFILL,
                   p->flops_per_second * 1e-9, p->share);
        else
            printf(form, p->op, p->dtype, p->isa, BENCH_PREFILL, p->flops_per_second * 1e-9,
                   p->share);
    }
    if (json) printf("\n  ]\n}\n");
}

static void print_all(const char *format, const bench *b)
{
    char isas[G4_ISA_TEXT];
    g4_isa_print(isas, b->isas);
    if (strcmp(format, "json") == 0)
        printf("{\n  \"threads\": %d,\n  \"isa\": \"%s\",\n  \"kernels\": [\n",
               g4_par_threads(b->par), isas);
    else
        print_head(format);
    for (int i = 0; i < b->rows; i++) print_row(format, b, &b->row[i], i + 1 == b->rows);
    if (strcmp(format, "json") == 0) printf("  ],\n");
    if (strcmp(format, "md") == 0)
        printf("\n%d threads, ISA %s, medians of %d rounds\n", g4_par_threads(b->par), isas,
               b->rounds);
    print_summary(format, b);
}

/* ---- --model ---- */

/* llama-bench's columns, the limits behind them; t/s is the mean of the runs' and, behind
 * +-, their standard deviation, as there. */
static void print_test(const g4_options *o, const g4_runtime *rt, const bench_model *b, int i)
{
    const bench_test *t = &b->test[i];
    const char *format = o->format ? o->format : "md", *slash = strrchr(o->model, '/');
    char name[512], test[BENCH_NAME];
    g4_text_cell(name, sizeof name, slash && slash[1] ? slash + 1 : o->model);
    double mean = 0, square = 0, bound = bench_test_bound(t, &t->limit);
    for (int k = 0; k < b->runs; k++) mean += (double)t->n / t->seconds[k] / b->runs;
    for (int k = 0; k < b->runs; k++) {
        double off = (double)t->n / t->seconds[k] - mean;
        square += off * off;
    }
    double spread = b->runs > 1 ? sqrt(square / (b->runs - 1)) : 0;
    double gib = (double)b->weight_bytes / (1 << 30), billions = (double)b->parameters * 1e-9;
    if (strcmp(format, "json") == 0)
        printf("  {\"model\": \"%s\", \"size_gib\": %.3f, \"params_b\": %.3f, \"n_prompt\": %lld, "
               "\"n_gen\": %lld, \"n_depth\": %lld, ",
               name, gib, billions, (long long)(t->decode ? 0 : t->n),
               (long long)(t->decode ? t->n : 0), (long long)t->depth);
    else
        printf(strcmp(format, "csv") == 0 ? "\"%s\",%.3f,%.3f," : "| %s | %.2f GiB | %.2f B | ",
               name, gib, billions);
    const char *form =
        strcmp(format, "csv") == 0 ? "%s,%s,%d,%s,%.3f,%.3f,%.3f,%.3f,%.2f,%.1f\n"
        : strcmp(format, "json") == 0
            ? "\"engine\": \"%s\", \"kv\": \"%s\", \"threads\": %d, \"test\": \"%s\", "
              "\"avg_ts\": %.3f, \"stddev_ts\": %.3f, \"bound_ts\": %.3f, \"share\": %.3f, "
              "\"read_gb_s\": %.2f, \"peak_gops\": %.1f}"
            : "%s | %s | %d | %s | %.2f +- %.2f | %.2f | %.2f | %.1f | %.0f |\n";
    printf(form, rt->plan.stream ? "opt" : "ref", g4_dtype_get(rt->plan.kv)->name,
           g4_par_threads(rt->par), bench_test_name(test, t), mean, spread, bound,
           t->share, t->limit.read * 1e-9, t->limit.peak * 1e-9);
    if (strcmp(format, "json") == 0) printf(i + 1 == b->tests ? "\n" : ",\n");
}

static void print_tests(const g4_options *o, const g4_runtime *rt, const bench_model *b)
{
    const char *format = o->format ? o->format : "md";
    if (strcmp(format, "csv") == 0)
        printf("model,size_gib,params_b,engine,kv,threads,test,t_s,spread,bound_t_s,share,"
               "read_gb_s,peak_gops\n");
    else if (strcmp(format, "json") == 0)
        printf("[\n");
    else
        printf("| model | size | params | engine | kv | threads | test | t/s | bound t/s | share | "
               "read GB/s | peak Gop/s |\n"
               "|---|---:|---:|---|---|---:|---|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < b->tests; i++) print_test(o, rt, b, i);
    if (strcmp(format, "json") == 0) printf("]\n");
}

static g4_status run_model(const g4_options *o, g4_err *err)
{
    g4_runtime rt;
    bench_model b;
    g4_status s = g4_runtime_open(&rt, o, G4_DRAFT_NONE, err);
    if (s == G4_OK) s = bench_model_run(&b, &rt, o, err);
    if (s == G4_OK) print_tests(o, &rt, &b);
    g4_runtime_close(&rt);
    return s;
}

static g4_status run(const g4_options *o, g4_arena *arena, g4_par **par, g4_err *err)
{
    const char *backbone, *drafter;
    g4_config c;
    g4_json json;
    bench b;
    unsigned isas;
    if (!o->peers && (o->out || o->peer_args || o->timeout))
        return g4_fail(err, G4_EINPUT, "bench: --out, --peer-args and --timeout go with --peers");
    if (o->peers && o->kernels) return g4_fail(err, G4_EINPUT, "bench --peers: needs --model");
    if (o->model && o->peers) return bench_peers(o, err);
    if (o->model && !o->kernels) return run_model(o, err);
    if (!o->kernels) return g4_fail(err, G4_EINPUT, "bench: give --model or --kernels");
    if (o->model) return g4_fail(err, G4_EINPUT, "bench --kernels: needs no --model");
    if (o->threads > 1024) return g4_fail(err, G4_EINPUT, "--threads: at most 1024");
    G4_TRY(g4_isa_parse(&isas, o->isa, err));
    g4_shape_named("12b", &backbone, &drafter);
    G4_TRY(g4_json_parse(&json, "12b", backbone, strlen(backbone), err));
    g4_status status = g4_config_parse(&c, &json, arena, err);
    g4_json_free(&json);
    G4_TRY(status);
    G4_TRY(g4_par_open(par, (int)o->threads, err));
    G4_TRY(bench_kernels(&b, &c, *par, isas, arena, err));
    print_all(o->format ? o->format : "md", &b);
    return G4_OK;
}

int cmd_bench(const g4_options *o, g4_err *err)
{
    g4_arena arena = { NULL };
    g4_par *par = NULL;
    g4_status status = run(o, &arena, &par, err);
    g4_par_close(par);
    g4_arena_free(&arena);
    return status == G4_OK ? 0 : 2;
}
