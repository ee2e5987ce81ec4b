/* SPDX-License-Identifier: Apache-2.0
 * gemma4 bench: speed.  `--kernels` measures each kernel by itself at the layer
 * sizes of the 12B model [N1], next to what the machine can do at best. */
#include "harness/bench_kernels.h"
#include "harness/options.h"
#include "harness/shape.h"

#include <string.h>

static const char *const head[] = {
    "kernel", "size", "tokens", "time_us", "gflops", "gbytes_s", "share_of_fma_peak",
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
    double s = bench_seconds(r), gflops = r->flops / s * 1e-9;
    const char *form = strcmp(format, "csv") == 0 ? "%s_%s_%s,%s,%lld,%.1f,%.1f,%.2f,%.4f\n"
                       : strcmp(format, "json") == 0
                           ? "    {\"kernel\": \"%s_%s_%s\", \"size\": \"%s\", \"tokens\": %lld, "
                             "\"time_us\": %.1f, \"gflops\": %.1f, \"gbytes_s\": %.2f, "
                             "\"share_of_fma_peak\": %.4f}"
                           : "| %s_%s_%s | %s | %lld | %.1f | %.1f | %.2f | %.3f |\n";
    printf(form, r->op, r->dtype, r->isa, r->size, (long long)r->tokens, s * 1e6, gflops,
           r->bytes / s * 1e-9, r->flops / s / b->peak);
    if (strcmp(format, "json") == 0) printf(last ? "\n" : ",\n");
}

/* The machine and the sums: in CSV as rows of the same columns. */
static void print_summary(const char *format, const bench *b)
{
    int csv = strcmp(format, "csv") == 0, json = strcmp(format, "json") == 0;
    const char *machine = csv ? "machine,fma_peak_f32,,,%.1f,,1\nmachine,read,,,,%.2f,\n"
                          : json ? "  \"fma_peak_gflops\": %.1f,\n  \"read_gbytes_s\": %.2f,\n"
                                 : "\nfloat32 FMA peak: %.1f GFLOP/s; reading memory: %.2f GB/s\n";
    const char *form = csv ? "prefill,linear %s %s all layers,%d,,%.1f,,%.4f\n"
                       : json ? "%s    {\"weights\": \"%s\", \"isa\": \"%s\", \"tokens\": %d, "
                                "\"gflops\": %.1f, \"share_of_fma_peak\": %.4f}"
                              : "prefill, linear layers of the whole model, %s weights, %s: %d "
                                "tokens at %.1f GFLOP/s = %.3f of the peak\n";
    printf(machine, b->peak * 1e-9, b->read * 1e-9);
    if (json) printf("  \"prefill\": [");
    for (int i = 0; i < b->prefills; i++) {
        const bench_prefill *p = &b->prefill[i];
        if (json)
            printf(form, i ? ",\n" : "\n", p->dtype, p->isa, BENCH_PREFILL,
                   p->flops_per_second * 1e-9, p->share);
        else
            printf(form, p->dtype, p->isa, BENCH_PREFILL, p->flops_per_second * 1e-9, p->share);
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
               BENCH_ROUNDS);
    print_summary(format, b);
}

static g4_status run(const g4_options *o, g4_arena *arena, g4_par **par, g4_err *err)
{
    const char *backbone, *drafter;
    g4_config c;
    g4_json json;
    bench b;
    unsigned isas;
    if (o->model) return g4_fail(err, G4_EINPUT, "bench --model: not yet (bench --kernels is)");
    if (!o->kernels) return g4_fail(err, G4_EINPUT, "bench: give --kernels");
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
