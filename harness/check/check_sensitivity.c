/* SPDX-License-Identifier: Apache-2.0
 * gemma4 sensitivity: simulated types by hand; points that gemma4 kl measures, too, of the same
 * weights in a file; layers that are not computed again; studies that were cut off; recipes. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/check/tempdir.h"
#include "harness/sensitivity/sensitivity.h"
#include "ref/base/half.h"
#include "ref/base/map.h"
#include "ref/base/rng.h"

#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *check_sensitivity(void);

#define EVEN "golden/tiny/even/model"
#define STUDY "sensitivity --model " EVEN " --data %d/d.jsonl "

static char dir[TEMPDIR_MAX];
static program_result r;

static const char data[] =
    "{\"domain\":\"a\",\"text\":\"One day they walk along the river.\"}\n"
    "{\"domain\":\"b\",\"text\":\"1 + 2 = 3, 4 + 5 = 9\"}\n"
    "\n"
    "{\"domain\":\"a\",\"prompt\":\"The owl \",\"target\":\"sleeps on the floor\"}\n"
    "{\"domain\":\"q\",\"prompt\":\"Which?\",\"choices\":[\"A\",\"B\",\"C\"],\"answer\":1}\n"
    "{\"domain\":\"q\",\"prompt\":\"Who?\",\"choices\":[\"x\",\"y\"],\"answer\":0}\n";

static int run(const char *command)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    program_run(&r, command, places, NULL, RLIM_INFINITY);
    return program_runnable(&r, "sensitivity");
}

static int run_well(const char *command)
{
    int ran = run(command);
    if (ran) ck_assert_msg(r.code == 0, "%s: %s", command, r.err);
    return ran;
}

static char *read_file(const char *name, size_t *size)
{
    char path[TEMPDIR_MAX];
    uint8_t *bytes;
    tempdir_path(path, dir, name);
    ck_assert_int_eq(g4_file_read(path, 1 << 24, &bytes, size, NULL), G4_OK);
    return (char *)bytes;
}

/* A point's figure in the journal; domain NULL: of the point itself. */
static double figure(const char *out, const char *point, const char *domain, const char *key)
{
    char name[80];
    size_t size;
    double v = NAN;
    snprintf(name, sizeof name, "%s/points.jsonl", out);
    char *text = read_file(name, &size);
    for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        const char *is = json_string_value(json_object_get(line, "point"));
        if (is && strcmp(is, point) == 0) {
            json_t *d = json_object_get(json_object_get(line, "domains"), domain ? domain : "");
            v = domain ? json_number_value(json_array_get(json_object_get(d, key), 0))
                       : json_number_value(json_object_get(line, key));
        }
        json_decref(line);
    }
    free(text);
    ck_assert_msg(isfinite(v), "%s: no %s of %s", out, key, point);
    return v;
}

static void setup(void)
{
    tempdir_make(dir);
    tempdir_write(dir, "d.jsonl", data, strlen(data));
}

static void teardown(void)
{
    tempdir_remove(dir);
}

/* ---- types ---- */

/* What comes back is a level, and no further than half a step: d = largest / 2^(bits-1) (range /
 * (2^bits-1)), to which float16 adds 2^-11 of the scale for each step, and of the offset; the
 * symmetric levels end one step short on the side away from the largest value. */
START_TEST(simulated_types)
{
    for (int bits = 2; bits <= 8; bits++)
        for (int affine = 0; affine < 2; affine++) {
            char name[16];
            g4_sens_type t;
            float x[96], y[96], most = 0.0f, lo = 0.0f, hi = 0.0f;
            snprintf(name, sizeof name, "%c%db32", affine ? 'a' : 's', bits);
            ck_assert_int_eq(g4_sens_type_parse(&t, name, strlen(name), NULL), G4_OK);
            ck_assert_uint_eq(g4_sens_row_bytes(&t, 96), (size_t)(12 * bits + (affine ? 12 : 6)));
            for (uint64_t i = 0; i < 96; i++)
                x[i] = (float)(g4_rng_unit((uint64_t)bits, 3, i) - 0.4);
            g4_sens_round(&t, y, x, 96);
            for (int i = 0; i < 96; i++) {
                if (i % 32 == 0) {
                    most = lo = hi = 0.0f;
                    for (int k = i; k < i + 32; k++) {
                        most = fmaxf(most, fabsf(x[k]));
                        lo = fminf(lo, x[k]);
                        hi = fmaxf(hi, x[k]);
                    }
                }
                double steps = affine ? (1 << bits) - 1 : 1 << (bits - 1);
                double d = affine ? ((double)hi - (double)lo) / steps : (double)most / steps;
                double short_by = affine ? 0.5 : 1.0;
                double bound = d * short_by + (d * steps + (double)fabsf(lo)) * 0x1p-11;
                ck_assert_msg(fabs((double)y[i] - (double)x[i]) <= bound * 1.0001, "%s: %g as %g",
                              name, (double)x[i], (double)y[i]);
            }
        }
}
END_TEST

/* Q4_0's own example: levels -8..7 times -largest / 8, all powers of two. */
START_TEST(symmetric_by_hand)
{
    static const float x[8] = { -8, 7, 3.4f, 3.6f, 0, -0.5f, -0.6f, 7.9f };
    static const float want[8] = { -8, 7, 3, 4, 0, 0, -1, 7 };
    float y[8];
    g4_sens_type t;
    ck_assert_int_eq(g4_sens_type_parse(&t, "s4b0", 4, NULL), G4_OK);
    g4_sens_round(&t, y, x, 8);
    for (int i = 0; i < 8; i++) ck_assert_msg(y[i] == want[i], "%d: %g", i, (double)y[i]);
}
END_TEST

/* ---- the command ---- */

static double kl_mean(const char *command)
{
    if (!run_well(command)) return NAN;
    json_t *root = json_loads(r.out, 0, NULL);
    const json_t *mean = json_object_get(json_object_get(root, "kl"), "mean");
    double v = json_number_value(json_object_get(mean, "value"));
    json_decref(root);
    return v;
}

#define KL "kl --engine ref --json --ctx 64 --reference " EVEN " --data %d/t.jsonl --model "

/* The same text, the same weights: out of a GGUF, and rounded by the study. */
START_TEST(points_are_kls)
{
    static const struct { const char *point, *pack, *kl; } same[] = {
        { "weights of model all as q8_0", "quantize --model " EVEN " --type q8_0 --out %d/a.gguf",
          KL "%d/a.gguf" },
        { "weights of mix q4_k_m as q4_k_m",
          "quantize --model " EVEN " --type q4_k_m --out %d/b.gguf", KL "%d/b.gguf" },
        { "kv of model all as q8_0", NULL, KL EVEN " --kv q8_0" },
    };
    tempdir_write(dir, "t.jsonl", data, (size_t)(strstr(data, "\n\n") - data) + 1);
    if (!run_well("sensitivity --model " EVEN " --data %d/t.jsonl --types q8_0,q4_k_m "
                  "--of weights,kv --out %d/out")) return;
    for (int i = 0; i < 3; i++) {
        if (same[i].pack) run_well(same[i].pack);
        double want = kl_mean(same[i].kl), got = figure("out", same[i].point, "all", "kl");
        /* the same rows; sums of 30 positive numbers, in another order at most */
        ck_assert_msg(fabs(got - want) <= 1e-14 * want, "%s: %.17g, kl says %.17g", same[i].point,
                      got, want);
    }
}
END_TEST

/* A point that begins at layer 1 with what the reference had there, and the same from the start
 * (float32 weights rounded to float32 are changes, too): the same bits. */
START_TEST(prefix_is_not_computed_again)
{
    static const char recipe[] = "blk\\.1\\.=q4_0\n.=f32\n";
    tempdir_write(dir, "whole.txt", recipe, strlen(recipe));
    if (!run_well(STUDY "--types q4_0 --by layer --recipe %d/whole.txt --out %d/out")) return;
    static const char name[] = "weights of recipe whole.txt as mix";
    ck_assert_double_eq(figure("out", "weights of layer 1 as q4_0", NULL, "first"), 1.0);
    ck_assert_double_eq(figure("out", name, NULL, "first"), 0.0);
    static const char *const keys[] = { "kl", "kl_p99", "flips", "ppl_ratio", "accuracy" };
    for (int k = 0; k < 5; k++)
        ck_assert_double_eq(figure("out", "weights of layer 1 as q4_0", "all", keys[k]),
                            figure("out", name, "all", keys[k]));
}
END_TEST

/* --depth 1 gives a layer's own error, the same as of a run to the end, and no KL. */
START_TEST(depth_ends_early)
{
    size_t size;
    if (!run_well(STUDY "--types q4_0 --by layer,tensor --only 0,1,audio --out %d/all")) return;
    run_well(STUDY "--types q4_0 --by layer --depth 1 --out %d/one");
    char *all = read_file("all/depth.csv", &size), *one = read_file("one/depth.csv", &size);
    char *line = strchr(one, '\n') + 1;
    int n = 0;
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        *end = 0;
        ck_assert_msg(strstr(all, line) != NULL, "%s", line);
    }
    ck_assert_int_eq(n, 2);
    free(all);
    free(one);
    all = read_file("one/points.csv", &size);
    /* the last layer's point reaches the logits */
    ck_assert(!strstr(all, "layer,0,") && strstr(all, "layer,1,"));
    free(all);
}
END_TEST

/* All but layer 0, and the rest one by one, is what is left of the model. */
START_TEST(left_out_is_the_rest)
{
    static const char recipe[] = "blk\\.0\\.=f32\n.=q4_0\n";
    tempdir_write(dir, "rest.txt", recipe, strlen(recipe));
    if (!run_well(STUDY "--types q4_0 --by layer --leave out --recipe %d/rest.txt --out %d/out"))
        return;
    static const char name[] = "weights of recipe rest.txt as mix";
    ck_assert_double_eq(figure("out", "weights of all but layer 0 as q4_0", "all", "kl"),
                        figure("out", name, "all", "kl"));
}
END_TEST

/* Rounding inputs has the size it should: more bits, less KL; none is lost on the way. */
START_TEST(activations_and_both)
{
    if (!run_well(STUDY "--types s8b32,s5b32,s3b32 --of weights,activations,both --out %d/out"))
        return;
    static const char *const of[] = { "weights", "activations", "both" };
    double kl[3][3];
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s of model all as s%db32", of[i], k == 0 ? 8 : 7 - 2 * k);
            kl[i][k] = figure("out", name, "all", "kl");
            ck_assert(kl[i][k] > (k ? 2.0 * kl[i][k - 1] : 0.0));
        }
    ck_assert(kl[2][0] > kl[0][0] && kl[2][0] > kl[1][0]);
}
END_TEST

static const char pictures[] =
    "{\"domain\":\"text\",\"text\":\"One day they walk along the river.\"}\n"
    "{\"domain\":\"picture\",\"prompt\":\"<|image|>What?\",\"target\":\" a red one\","
    "\"media\":[[\"image\",\"image1.png\"]]}\n";

static void write_pictures(void)
{
    size_t size;
    uint8_t *png;
    ck_assert_int_eq(g4_file_read("golden/tiny/even/image1.png", 1 << 24, &png, &size, NULL),
                     G4_OK);
    tempdir_write(dir, "image1.png", (char *)png, size);
    tempdir_write(dir, "p.jsonl", pictures, strlen(pictures));
    free(png);
}

/* What embeds pictures changes what is said of pictures, by weights and by what meets them, and
 * nothing that is said of texts; what no line of the data meets is not measured. */
START_TEST(media_by_kind)
{
    static const char *const of[] = { "weights", "activations" };
    size_t size;
    write_pictures();
    if (!run_well("sensitivity --model " EVEN " --data %d/p.jsonl --types s8b32,s3b32 --by "
                  "kind,tensor --of weights,activations --out %d/out")) return;
    for (int i = 0; i < 2; i++) {
        char eight[64], three[64];
        snprintf(eight, sizeof eight, "%s of kind vision as s8b32", of[i]);
        snprintf(three, sizeof three, "%s of kind vision as s3b32", of[i]);
        double few = figure("out", three, "picture", "kl");
        double many = figure("out", eight, "picture", "kl");
        ck_assert_msg(many > 0.0 && few > 4.0 * many, "%s: %g, %g", of[i], many, few);
        ck_assert_double_eq(figure("out", three, "text", "kl"), 0.0);
    }
    /* patches meet one matrix, soft tokens' rows the other; no product has the positions */
    double first = figure("out", "activations of tensor v.patch_embd as s3b32", "picture", "kl");
    double last = figure("out", "activations of tensor mm.input_projection as s3b32", "picture",
                         "kl");
    ck_assert(first > 0.0 && last > 0.0 && first != last);
    char *text = read_file("out/points.csv", &size);
    ck_assert(!strstr(text, "audio"));
    ck_assert(!strstr(text, "v.position_embd,activations"));
    ck_assert(strstr(text, "v.position_embd,weights") != NULL);
    free(text);
    run_well(STUDY "--types s3b32 --by kind --out %d/texts");
    text = read_file("texts/points.csv", &size);
    ck_assert(!strstr(text, "vision"));
    free(text);
}
END_TEST

/* A drafter rounded by the study, and one that comes rounded from a file: the same chance that
 * its drafts are taken.  Of the second the reference's is the point's less the change. */
START_TEST(drafter_as_from_a_file)
{
    static const char half[] = "weights of kind drafter as f16";
    if (!run_well(STUDY "--draft " EVEN "/assistant --types q8_0,f16,q2_k --by kind --of "
                  "weights,activations --out %d/out")) return;
    run_well("quantize --model " EVEN "/assistant --type q8_0 --out %d/a.gguf");
    run_well(STUDY "--draft %d/a.gguf --types f16 --by kind --out %d/file");
    double want = figure("file", half, "all", "acceptance") -
                  figure("file", half, "all", "acceptance_change");
    double got = figure("out", "weights of kind drafter as q8_0", "all", "acceptance");
    ck_assert_msg(fabs(got - want) <= 1e-13, "%.17g, from a file %.17g", got, want);
    static const char *const of[] = { "weights", "activations" };
    for (int i = 0; i < 2; i++) {
        char name[64];
        double kl[2];
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%s of kind drafter as %s", of[i], k ? "q2_k" : "q8_0");
            kl[k] = figure("out", name, "all", "kl");
        }
        ck_assert_msg(kl[0] > 0.0 && kl[1] > 10.0 * kl[0], "%s: %g, %g", of[i], kl[0], kl[1]);
    }
    /* the model itself is what it was */
    run_well(STUDY "--types f16 --by kind --out %d/none");
    ck_assert_double_eq(figure("out", "weights of kind ffn_down as f16", "all", "kl"),
                        figure("none", "weights of kind ffn_down as f16", "all", "kl"));
}
END_TEST

static const char *const tables[] = { "points.csv", "depth.csv", "noise.csv", "channels.csv",
                                      "questions.csv", "predicted.csv" };
enum { TABLES = sizeof tables / sizeof *tables };

static void keep_tables(const char *out, char *kept[TABLES])
{
    char name[80];
    size_t size;
    for (int i = 0; i < TABLES; i++) {
        snprintf(name, sizeof name, "%s/%s", out, tables[i]);
        kept[i] = read_file(name, &size);
    }
}

/* Cut off at any byte, with another number of threads: the same tables, to the byte. */
START_TEST(cut_off_and_resumed)
{
    char *want[TABLES], *got[TABLES];
    size_t size;
    if (!run_well(STUDY "--types q4_k,q8_0 --by model,kind --threads 1 --out "
                  "%d/out")) return;
    keep_tables("out", want);
    char *journal = read_file("out/points.jsonl", &size);
    for (size_t part = 0; part < 3; part++) {
        tempdir_write(dir, "out/points.jsonl", journal, size * part / 3);
        run_well(STUDY "--types q4_k,q8_0 --by model,kind --threads 3 --resume "
                 "--out %d/out");
        keep_tables("out", got);
        for (int i = 0; i < TABLES; i++) {
            ck_assert_msg(strcmp(want[i], got[i]) == 0, "%s is another", tables[i]);
            free(got[i]);
        }
    }
    for (int i = 0; i < TABLES; i++) free(want[i]);
    free(journal);
}
END_TEST

/* Lines of a file that may be growing. */
static int count_lines(const char *path)
{
    int n = 0, c;
    FILE *f = fopen(path, "r");
    while (f && (c = fgetc(f)) != EOF) n += c == '\n';
    if (f) fclose(f);
    return n;
}

/* kill -9 between two points: nothing is left but the journal, and resuming gives the tables
 * that a run that was let be gives. */
START_TEST(killed_and_resumed)
{
    static const char command[] = STUDY "--types q4_k,q8_0,q6_k --by tensor --threads 1 --out ";
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    char *want[TABLES], *got[TABLES], *argv[PROGRAM_WORDS], line[512], path[TEMPDIR_MAX];
    char space[PROGRAM_WORDS][TEMPDIR_MAX];
    snprintf(line, sizeof line, "%s%%d/out", command);
    if (!run_well(line)) return;
    keep_tables("out", want);
    snprintf(line, sizeof line, "%s%%d/cut", command);
    program_split(line, places, argv, space);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    pid_t pid = program_start(argv, nowhere, nowhere, RLIM_INFINITY);
    close(nowhere);
    tempdir_path(path, dir, "cut/points.jsonl");
    for (int i = 0; i < 2000 && count_lines(path) < 4; i++) usleep(2000);
    kill(pid, SIGKILL);
    program_finish(pid);
    int had = count_lines(path);
    ck_assert_msg(had >= 4, "%d lines", had);
    tempdir_path(path, dir, "cut");
    ck_assert_int_eq(tempdir_count(path), 1);
    snprintf(line, sizeof line, "%s%%d/cut --resume", command);
    run_well(line);
    keep_tables("cut", got);
    for (int i = 0; i < TABLES; i++) {
        ck_assert_msg(strcmp(want[i], got[i]) == 0, "%s is another", tables[i]);
        free(got[i]);
        free(want[i]);
    }
}
END_TEST

enum { TENSORS = 14 };           /* matrices of the text model: 2^14 recipes of two types */

/* The least KL of all recipes of q8_0 and q2_k with so many bytes. */
static double best_of_all(double budget)
{
    double base = figure("out", "weights of model all as q2_k", NULL, "bytes"), low = 0.0;
    double more[TENSORS], gain[TENSORS], best = INFINITY;
    size_t size;
    char *text = read_file("out/points.jsonl", &size);
    int n = 0;
    for (char *at = text; (at = strstr(at, "weights of tensor ")) != NULL; at++) {
        char name[80], *type = strstr(at, " as ");
        const char *tensor = at + strlen("weights of tensor ");
        int media = strncmp(tensor, "v.", 2) == 0 || strncmp(tensor, "mm.", 3) == 0;
        if (media || strncmp(type, " as q8_0", 8) != 0) continue;
        ck_assert_int_lt(n, TENSORS);
        int len = (int)(type - at);
        snprintf(name, sizeof name, "%.*s as q8_0", len, at);
        more[n] = figure("out", name, NULL, "bytes");
        gain[n] = figure("out", name, "all", "kl");
        snprintf(name, sizeof name, "%.*s as q2_k", len, at);
        more[n] -= figure("out", name, NULL, "bytes");
        low += figure("out", name, "all", "kl");
        gain[n] -= figure("out", name, "all", "kl");
        n++;
    }
    free(text);
    ck_assert_int_eq(n, TENSORS);
    for (int set = 0; set < 1 << n; set++) {
        double bytes = base, kl = low;
        for (int i = 0; i < n; i++) {
            if (!(set >> i & 1)) continue;
            bytes += more[i];
            kl += gain[i];
        }
        if (bytes <= budget) best = fmin(best, kl);
    }
    return best;
}

/* What is chosen fits, no choice is better, and it is what quantize takes. */
START_TEST(recipes_fit)
{
    size_t size;
    if (!run_well(STUDY "--types q8_0,q2_k --by model,tensor --budget 600kB,5bpw --out %d/out"))
        return;
    double bytes = figure("out", "weights of recipe 600kB as mix", NULL, "bytes");
    ck_assert_msg(bytes <= 600e3, "%g", bytes);
    char *table = read_file("out/predicted.csv", &size), *line = strstr(table, "recipe,600kB,");
    ck_assert_ptr_nonnull(line);
    line[strcspn(line, "\n")] = 0;
    double predicted = strtod(strrchr(line, ',') + 1, NULL), best = best_of_all(600e3);
    /* %.9g in the table; sums in another order */
    ck_assert_msg(fabs(predicted - best) <= 1e-8 * best, "%.10g, at best %.10g", predicted, best);
    free(table);
    run_well("quantize --model " EVEN " --type f16 --recipe %d/out/recipe_600kB.txt --out "
             "%d/r.gguf");
    ck_assert_msg(!strstr(r.err, "matched no tensor"), "%s", r.err);
    char path[TEMPDIR_MAX];
    g4_map m;
    tempdir_path(path, dir, "r.gguf");
    ck_assert_int_eq(g4_map_open(&m, path, NULL), G4_OK);
    ck_assert_msg((double)m.size >= bytes && (double)m.size < bytes + 65536.0, "%zu, planned %g",
                  m.size, bytes);
    g4_map_close(&m);
}
END_TEST

static const struct {
    const char *command, *says;
} bad[] = {
    { STUDY "--types q4_k --by town --out %d/x", "--by town: not known" },
    { STUDY "--types q4_k --by tensor --only blk.7* --out %d/x", "--types: nothing to measure" },
    { STUDY "--types q4_k --of weights,wine --out %d/x", "--of wine: not known" },
    { STUDY "--types s9b32 --out %d/x", "--types s9b32: expected a format" },
    { STUDY "--types iq1_s --out %d/x", "--types iq1_s: expected a format" },
    { STUDY "--types s4b32 --of kv --out %d/x", "--of kv: s4b32: a number format" },
    { STUDY "--types q4_k --budget 900kB --out %d/x", "--budget: needs --by tensor" },
    { STUDY "--types q4_k --by tensor --budget 6.5 --out %d/x", "--budget 6.5: expected 6.5GB" },
    { STUDY "--types q8_0 --by tensor --budget 100kB --limit 1 --out %d/x",
      "--budget 100kB: the smallest" },
    { STUDY "--types q4_k --out %d/d.jsonl", "d.jsonl: cannot make this folder" },
    { "sensitivity --model " EVEN " --types q4_k --data %d/none --out %d/x", "none: cannot open" },
    { "sensitivity --model " EVEN " --types q4_k --data %d/bad1 --out %d/x", "expected a text" },
    { "sensitivity --model " EVEN " --types q4_k --data %d/bad2 --out %d/x",
      "choices 0 and 1 begin with the same token" },
    { "sensitivity --model " EVEN " --types q4_k --data %d/bad3 --out %d/x", "answer" },
    { STUDY "--types q4_k --ctx 4 --out %d/x", "--ctx says 4" },
    { STUDY "--types q4_k --recipe %d/none --out %d/x", "none: cannot open" },
    { STUDY "--types q4_k --recipe %d --out %d/x", "not a regular file" },
    { STUDY "--types q4_k --recipe %d/r1 --out %d/x", "r1: line 2" },
    { STUDY "--types q4_k --recipe %d/r2 --out %d/x", "r2: line 1" },
    { STUDY "--types q4_k --recipe %d/r3 --out %d/x", "r3: has a NUL" },
    { "sensitivity --model " EVEN "/assistant --types q4_k --data %d/d.jsonl --out %d/x",
      "is a drafter; a model is needed" },
    { STUDY "--types q4_k --draft golden/tiny/small/model/assistant --out %d/x",
      "small" },
    { STUDY "--types q4_k --draft " EVEN " --out %d/x", "drafter" },
    { "sensitivity --model %d/d.jsonl --types q4_k --data %d/d.jsonl --out %d/x", "d.jsonl" },
    { "sensitivity --model " EVEN " --types q4_k --data %d/bad4 --out %d/x", "none.png" },
    { "sensitivity --model " EVEN " --types q4_k --data %d/bad5 --out %d/x", "bad5: line 1" },
    { "sensitivity --model " EVEN " --types q4_k --data %d/empty --out %d/x", "empty: no lines" },
    { STUDY "--types q4_k --resume --out %d/other", "points.jsonl: line 1" },
};

START_TEST(refused)
{
    static const struct { const char *name, *text; } files[] = {
        { "bad1", "{\"prompt\":\"x\"}" },
        { "bad2", "{\"prompt\":\"x\",\"choices\":[\"A\",\"A\"],\"answer\":0}" },
        { "bad3", "{\"prompt\":\"x\",\"choices\":[\"A\",\"B\"],\"answer\":2}" },
        { "bad4", "{\"prompt\":\"<|image|>\",\"target\":\"a\",\"media\":"
                  "[[\"image\",\"none.png\"]]}" },
        { "bad5", "{\"text\":" }, { "empty", "" },
        { "r1", "# words\nblk.=q9_9\n" }, { "r2", "blk.(=q4_0" },
        { "other/points.jsonl", "{\"format\":\"another\"}\n" },
    };
    char path[TEMPDIR_MAX];
    tempdir_path(path, dir, "other");
    ck_assert_int_eq(mkdir(path, 0700), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        tempdir_write(dir, files[i].name, files[i].text, strlen(files[i].text));
    tempdir_write(dir, "r3", "blk=q4_0\n\0", 10);
    if (run(bad[_i].command)) program_expect_error(&r, bad[_i].says);
}
END_TEST

START_TEST(journals_are_kept)
{
    if (!run_well(STUDY "--types q8_0 --out %d/out")) return;
    run(STUDY "--types q8_0 --out %d/out");
    program_expect_error(&r, "points.jsonl: is there already");
    run(STUDY "--types q8_0 --resume --limit 2 --out %d/out");
    program_expect_error(&r, "points.jsonl: was made with another limit");
    /* what it has stays when it grows */
    run_well(STUDY "--types q4_0 --resume --out %d/out");
    ck_assert(figure("out", "weights of model all as q8_0", "q", "kl") <
              figure("out", "weights of model all as q4_0", "q", "kl"));
    /* a line of another study in between; half a line at the end is a run that was cut off */
    size_t size;
    char *text = read_file("out/points.jsonl", &size), path[TEMPDIR_MAX];
    tempdir_path(path, dir, "out/points.jsonl");
    FILE *f = fopen(path, "a");
    ck_assert(f && fputs("{\"point\":\"weights of the moon\",\"layers\":[],\"document_kl\":[1],"
                         "\"domains\":{}}\n", f) >= 0 && fclose(f) == 0);
    run(STUDY "--types q5_0 --resume --out %d/out");
    program_expect_error(&r, "points.jsonl: line 4: does not begin as");
    tempdir_write(dir, "out/points.jsonl", text, size - 9);
    run_well(STUDY "--types q8_0,q4_0 --resume --out %d/out");
    char *again = read_file("out/points.jsonl", &size);
    char *a = strstr(text, "\"domains\""), *b = strstr(again, "\"domains\"");
    ck_assert(a && b && strncmp(a, b, 200) == 0);
    free(text);
    free(again);
}
END_TEST

Suite *check_sensitivity(void)
{
    Suite *s = suite_create("sensitivity");
    TCase *t = tcase_create("sensitivity");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, simulated_types);
    tcase_add_test(t, symmetric_by_hand);
    tcase_add_test(t, points_are_kls);
    tcase_add_test(t, prefix_is_not_computed_again);
    tcase_add_test(t, depth_ends_early);
    tcase_add_test(t, left_out_is_the_rest);
    tcase_add_test(t, activations_and_both);
    tcase_add_test(t, media_by_kind);
    tcase_add_test(t, drafter_as_from_a_file);
    tcase_add_loop_test(t, refused, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_test(t, journals_are_kept);
    suite_add_tcase(s, t);
    t = tcase_create("long");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_tags(t, "slow");
    tcase_add_test(t, cut_off_and_resumed);
    tcase_add_test(t, killed_and_resumed);
    tcase_add_test(t, recipes_fit);
    suite_add_tcase(s, t);
    return s;
}
