/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/bench_peers.h"
#include "harness/peak.h"
#include "harness/text.h"
#include "ref/base/map.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One engine at one test, over all rounds. */
typedef struct summary {
    double rate, low, high;     /* median and extremes */
    double share, bound;        /* medians: of the limit, and the limit in tokens a second */
    double ratio;               /* to the fastest peer; 0: there is none */
    double others;
} summary;

static double median_rate(const bench_race *r, const bench_engine *e, int test)
{
    double rate[BENCH_RUNS_MOST];
    for (int k = 0; k < r->rounds; k++) rate[k] = e->sample[test * r->rounds + k].rate;
    return g4_median(rate, r->rounds);
}

static summary summarize(const bench_race *r, const bench_engine *e, int test)
{
    double share[BENCH_RUNS_MOST], others[BENCH_RUNS_MOST], best = 0;
    const bench_sample *sample = &e->sample[test * r->rounds];
    summary s = { .rate = median_rate(r, e, test), .low = sample[0].rate,
                  .high = sample[0].rate };
    for (int k = 0; k < r->rounds; k++) {
        share[k] = sample[k].share;
        others[k] = e->others[k];
        if (sample[k].rate < s.low) s.low = sample[k].rate;
        if (sample[k].rate > s.high) s.high = sample[k].rate;
    }
    s.share = g4_median(share, r->rounds);
    s.others = g4_median(others, r->rounds);
    bench_limit limit = { r->read[r->limits / 2], r->peak[r->limits / 2] };
    s.bound = bench_test_bound(&r->list.test[test], &limit);
    for (int i = 0; i < r->engines; i++) {
        const bench_engine *peer = &r->engine[i];
        if (peer->self || peer->failed || !bench_engine_takes(peer, &r->list.test[test])) continue;
        double rate = median_rate(r, peer, test);
        if (rate > best) best = rate;
    }
    s.ratio = best > 0 ? s.rate / best : 0;
    return s;
}

static const bench_engine *next(const bench_race *r, int test, int *at)
{
    while (*at < r->engines) {
        const bench_engine *e = &r->engine[(*at)++];
        if (!e->failed && bench_engine_takes(e, &r->list.test[test])) return e;
    }
    return NULL;
}

/* ---- the table ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void print_row(const bench_race *r, const char *format, int test, const bench_engine *e,
                      int first)
{
    char name[BENCH_NAME], engine[256], model[512];
    summary s = summarize(r, e, test);
    const char *form =
        strcmp(format, "csv") == 0
            ? "%s%s,%s,%s,%d,%s,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.2f\n"
        : strcmp(format, "json") == 0
            ? "%s  {\"model\": \"%s\", \"engine\": \"%s\", \"kv\": \"%s\", \"threads\": %d, "
              "\"test\": \"%s\", \"median_ts\": %.3f, \"low_ts\": %.3f, \"high_ts\": %.3f, "
              "\"bound_ts\": %.3f, \"share\": %.3f, \"to_best_peer\": %.3f, \"others\": %.3f, "
              "\"resident_gb\": %.2f}"
            : "%s| %s | %s | %s | %d | %s | %.2f | %.2f to %.2f | %.2f | %.2f | %.2f | %.0f %% "
              "| %.2f |\n";
    const char *between = strcmp(format, "json") == 0 ? first ? "" : ",\n" : "";
    double others = isfinite(s.others) ? s.others : 0;
    printf(form, between, g4_text_cell(model, sizeof model, base_name(r->o->model)),
           g4_text_cell(engine, sizeof engine, e->name), r->kv, r->threads,
           bench_test_name(name, &r->list.test[test]), s.rate, s.low, s.high, s.bound, s.share,
           s.ratio, strcmp(format, "md") == 0 ? 100 * others : others, (double)e->resident * 1e-9);
}

void bench_report_print(bench_race *r)
{
    const char *format = r->o->format ? r->o->format : "md";
    int md = strcmp(format, "md") == 0, first = 1;
    double read = g4_median(r->read, r->limits), peak = g4_median(r->peak, r->limits);
    if (strcmp(format, "csv") == 0)
        printf("model,engine,kv,threads,test,median_ts,low_ts,high_ts,bound_ts,share,to_best_peer,"
               "others,resident_gb\n");
    if (strcmp(format, "json") == 0) printf("[\n");
    if (md)
        printf("| model | engine | kv | threads | test | t/s | lowest to highest | bound t/s | "
               "share | to best peer | others | GB |\n"
               "|---|---|---|---:|---|---:|---|---:|---:|---:|---:|---:|\n");
    for (int t = 0; t < r->list.tests; t++) {
        const bench_engine *e;
        for (int at = 0; (e = next(r, t, &at)) != NULL; first = 0)
            print_row(r, format, t, e, first);
    }
    if (strcmp(format, "json") == 0) printf("\n]\n");
    if (md) {
        printf("\nmedians of %d rounds in turns; reading memory %.1f GB/s (%.1f to %.1f), "
               "computing %.0f Gop/s\n", r->rounds, read * 1e-9, r->read[0] * 1e-9,
               r->read[r->limits - 1] * 1e-9, peak * 1e-9);
        for (int i = 0; i < r->engines; i++)
            if (!r->engine[i].failed && !r->engine[i].self) {
                char name[256];
                g4_text_cell(name, sizeof name, r->engine[i].name);
                printf("%s:%s\n", name, r->engine[i].flags);
            }
    }
}

/* ---- rows of notebooks_data/results ---- */

static void cpu_name(char *to, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    *to = 0;
    while (f && !*to && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon || colon[1] != ' ') continue;
        line[strcspn(line, "\n")] = 0;
        g4_text_cell(to, size, colon + 2);
    }
    if (f) fclose(f);
}

static g4_status write_rows(const bench_race *r, g4_out *f, g4_err *err)
{
    char date[32], cpu[256], model[512], engine[256], name[BENCH_NAME];
    struct tm utc;
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    cpu_name(cpu, sizeof cpu);
    double gb = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) * 1e-9;
    g4_text_cell(model, sizeof model, base_name(r->o->model));
    G4_TRY(g4_out_printf(f, err, "date,commit,cpu,threads,ram_gb,model,model_sha256,engine,case,"
                         "what,value,unit\n"));
    for (int t = 0; t < r->list.tests; t++) {
        const bench_engine *e;
        for (int at = 0; (e = next(r, t, &at)) != NULL;) {
            summary s = summarize(r, e, t);
            const struct {
                const char *what, *unit;
                double value;
            } row[] = {
                { "rate", "tokens/s", s.rate }, { "low", "tokens/s", s.low },
                { "high", "tokens/s", s.high }, { "bound", "tokens/s", s.bound },
                { "share", "", s.share }, { "to_best_peer", "", s.ratio },
                { "others", "", s.others }, { "resident", "GB", (double)e->resident * 1e-9 },
                { "read", "GB/s", r->read[r->limits / 2] * 1e-9 },
                { "peak", "Gop/s", r->peak[r->limits / 2] * 1e-9 },
            };
            const char *own = r->o->engine ? r->o->engine : "opt";
            for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
                if (!isfinite(row[i].value)) continue;
                G4_TRY(g4_out_printf(f, err, "%s,,%s,%d,%.0f,%s,,%s,%s,%s,%.4f,%s\n", date, cpu,
                                     r->threads, gb, model,
                                     e->self ? own : g4_text_cell(engine, sizeof engine, e->name),
                                     bench_test_name(name, &r->list.test[t]), row[i].what,
                                     row[i].value, row[i].unit));
            }
        }
    }
    return G4_OK;
}

g4_status bench_report_write(bench_race *r, const char *path, g4_err *err)
{
    g4_out f = G4_OUT_NONE;
    g4_median(r->read, r->limits);   /* sorted from here on */
    g4_median(r->peak, r->limits);
    g4_status s = g4_out_open(&f, path, err);
    if (s == G4_OK) s = write_rows(r, &f, err);
    if (s == G4_OK) s = g4_out_commit(&f, err);
    g4_out_abort(&f);
    return s;
}
