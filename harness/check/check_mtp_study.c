/* SPDX-License-Identifier: Apache-2.0
 * gemma4 mtp: figures from rounds that can be counted by hand, a study that was cut off at
 * any byte and goes on, what is refused. */
#include "harness/check/program.h"
#include "harness/check/suite.h"
#include "harness/check/tempdir.h"
#include "harness/mtp/mtp.h"
#include "ref/base/map.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

Suite *check_mtp_study(void);

#define MINIATURE "golden/miniature"
#define STUDY "mtp --model " MINIATURE " --threads 1 --max-tokens 14 --data %d/p.jsonl "

static char dir[TEMPDIR_MAX];
static program_result r;

static void run(const char *command)
{
    const program_place places[] = { { "%d", dir }, { NULL, NULL } };
    program_run(&r, command, places, NULL, RLIM_INFINITY);
}

static const char prompts[] =
    "{\"domain\":\"a\",\"prompt\":\"One day\"}\n"
    "\n"
    "{\"domain\":\"b\",\"ids\":[2,17,45,101,7,88,23,300]}\n"
    "{\"domain\":\"a\",\"prompt\":\"They sit by the window and\"}\n";

static void setup(void)
{
    tempdir_make(dir);
    tempdir_write(dir, "p.jsonl", prompts, strlen(prompts));
}

static void teardown(void)
{
    tempdir_remove(dir);
}

/* ---- engines' definitions ---- */

START_TEST(engines_count_differently)
{
    g4_mtp_round rounds[] = {
        { .k = 4, .matched = 4, .taken = 4, .written = 5 },   /* all, and the bonus token */
        { .k = 4, .matched = 1, .taken = 1, .written = 2 },
        { .k = 4, .matched = 0, .taken = 0, .written = 1 },
        { .k = 4, .matched = 3, .taken = 2, .written = 2 },   /* draft 1 (from 0) ends a text */
        { .k = 2, .matched = 2, .taken = 2, .written = 2 },   /* the last draft ends a text */
        { .k = 0, .matched = 0, .taken = 0, .written = 1 },   /* no draft: no engine counts it */
    };
    const g4_mtp_study s = { .rounds = rounds, .round_count = sizeof rounds / sizeof *rounds };
    static const struct { g4_draft_way way; int64_t accepted, second; } want[] = {
        { G4_DRAFT_HF, 4 + 1 + 0 + 1 + 1, 1 },
        { G4_DRAFT_LLAMA_CPP, 4 + 1 + 0 + 1 + 2, 2 },
        { G4_DRAFT_VLLM, 4 + 1 + 0 + 3 + 2, 3 },
    };
    char line[1024];
    for (int i = 0; i < 3; i++) {
        g4_mtp_report e = g4_mtp_engine(&s, want[i].way);
        ck_assert_int_eq(e.rounds, 5);
        ck_assert_int_eq(e.drafted, 18);
        ck_assert_int_eq(e.accepted, want[i].accepted);
        ck_assert_int_eq(e.at[1], want[i].second);
        ck_assert(e.length == 1.0 + (double)want[i].accepted / 5.0);
    }
    g4_mtp_report e = g4_mtp_engine(&s, G4_DRAFT_LLAMA_CPP);
    ck_assert_str_eq(g4_mtp_engine_line(line, sizeof line, &e, G4_DRAFT_LLAMA_CPP, 2),
                     "llama.cpp: draft acceptance = 0.44444 (    8 accepted /    18 generated), "
                     "mean len =  2.60, acceptance rate per position = (0.800, 0.400)");
}
END_TEST

/* ---- the command ---- */

static json_t *journal(const char *name, size_t *lines)
{
    char path[TEMPDIR_MAX];
    uint8_t *data;
    size_t size;
    json_t *all = json_array();
    tempdir_path(path, dir, name);
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, NULL), G4_OK);
    *lines = 0;
    for (char *at = (char *)data, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *v = json_loadb(at, (size_t)(end - at), 0, NULL);
        ck_assert_ptr_nonnull(v);
        json_object_del(v, "sum");
        if ((*lines)++) {   /* what time it took is another each time */
            size_t i;
            json_t *round;
            json_object_del(v, "prefill_s");
            json_object_del(v, "decode_s");
            json_array_foreach(json_object_get(v, "rounds"), i, round)
                for (int k = 0; k < 2; k++) json_array_remove(round, 6);
        }
        json_array_append_new(all, v);
    }
    free(data);
    return all;
}

static double summary_value(const char *row)
{
    char path[TEMPDIR_MAX];
    uint8_t *data;
    size_t size;
    tempdir_path(path, dir, "out/summary.csv");
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, NULL), G4_OK);
    const char *at = strstr((char *)data, row);
    ck_assert_msg(at != NULL, "no row %s", row);
    at += strlen(row);
    for (int commas = 0; commas < 2; at++) commas += *at == ',';   /* prompts and n */
    double v = strtod(at, NULL);
    free(data);
    return v;
}

/* The study's files tell the same story; cut off after any part of its journal, it goes on. */
START_TEST(cut_off_and_resumed)
{
    size_t lines, again;
    char path[TEMPDIR_MAX];
    uint8_t *data;
    size_t size;
    run(STUDY "--max-draft 3 --out %d/out");
    if (!program_runnable(&r, "mtp_study")) return;
    ck_assert_msg(r.code == 0, "%s", r.err);
    json_t *whole = journal("out/rounds.jsonl", &lines);
    ck_assert_uint_eq(lines, 4);
    double tokens = 0, rounds = 0;
    for (size_t i = 1; i < 4; i++) {
        const json_t *t = json_array_get(whole, i);
        ck_assert_uint_eq(json_array_size(json_object_get(t, "ids")), 14);
        tokens += 13;   /* the first comes before any round */
        rounds += (double)json_array_size(json_object_get(t, "rounds"));
    }
    double pass = summary_value("all,\"all\",tokens_per_pass,,");
    ck_assert_msg(pass > tokens / rounds - 1e-6 && pass < tokens / rounds + 1e-6, "%g", pass);
    tempdir_path(path, dir, "out/rounds.jsonl");
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, NULL), G4_OK);
    for (size_t cut = 1; cut <= size; cut += size / 5) {
        tempdir_write(dir, "out/rounds.jsonl", (char *)data, cut == 1 ? 0 : cut);
        run(STUDY "--max-draft 3 --resume --out %d/out");
        ck_assert_msg(r.code == 0, "%s", r.err);
        json_t *other = journal("out/rounds.jsonl", &again);
        ck_assert(json_equal(whole, other));
        json_decref(other);
    }
    free(data);
    json_decref(whole);
}
END_TEST

static const struct {
    const char *command, *says;
} bad[] = {
    { "mtp --model " MINIATURE " --data %d/none.jsonl --out %d/x", "none.jsonl: cannot open" },
    { "mtp --model " MINIATURE " --data %d/empty.jsonl --out %d/x", "empty.jsonl: no prompts" },
    { "mtp --model " MINIATURE " --data %d/both.jsonl --out %d/x",
      "both.jsonl: line 1: expected a prompt or ids" },
    { "mtp --model " MINIATURE " --data %d/far.jsonl --out %d/x",
      "far.jsonl: line 1: ids: number 2 is no token" },
    { "mtp --model " MINIATURE " --data %d/media.jsonl --out %d/x",
      "media.jsonl: line 1: media 1 is not" },
    { STUDY "--emulate hf --out %d/x", "--emulate hf: needs --max-draft" },
    { STUDY "--emulate ours --out %d/x", "--emulate ours: expected hf|llama.cpp|vllm" },
    { STUDY "--accept 0.5,2 --out %d/x", "--accept 0.5,2: expected numbers from 0 to 1" },
    { STUDY "--out %d/p.jsonl", "p.jsonl: cannot make this folder" },
    { STUDY "--draft " MINIATURE " --out %d/x", "is no drafter" },
};

START_TEST(refused)
{
    static const struct { const char *name, *text; } files[] = {
        { "empty.jsonl", "\n" }, { "both.jsonl", "{\"prompt\":\"x\",\"ids\":[2]}" },
        { "far.jsonl", "{\"ids\":[2,99999]}" },
        { "media.jsonl", "{\"prompt\":\"x\",\"media\":[[\"film\",\"y\"]]}" },
    };
    for (int i = 0; i < 4; i++)
        tempdir_write(dir, files[i].name, files[i].text, strlen(files[i].text));
    run(bad[_i].command);
    if (!program_runnable(&r, "mtp_study")) return;
    program_expect_error(&r, bad[_i].says);
}
END_TEST

/* A journal is neither overwritten nor continued with other settings. */
START_TEST(journals_are_kept)
{
    run(STUDY "--limit 1 --max-draft 2 --out %d/out");
    if (!program_runnable(&r, "mtp_study")) return;
    ck_assert_msg(r.code == 0, "%s", r.err);
    run(STUDY "--limit 1 --max-draft 2 --out %d/out");
    program_expect_error(&r, "rounds.jsonl: is there already");
    run(STUDY "--limit 1 --max-draft 3 --resume --out %d/out");
    program_expect_error(&r, "rounds.jsonl: was made with another max_draft");
    run(STUDY "--limit 1 --max-draft 2 --emulate vllm --resume --out %d/out");
    program_expect_error(&r, "rounds.jsonl: was made with another emulate");
    char path[TEMPDIR_MAX];
    uint8_t *data;
    size_t size;
    tempdir_path(path, dir, "out/rounds.jsonl");
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, NULL), G4_OK);
    data[size - 3] ^= 1;   /* in its second line */
    tempdir_write(dir, "out/rounds.jsonl", (char *)data, size);
    free(data);
    run(STUDY "--limit 1 --max-draft 2 --resume --out %d/out");
    program_expect_error(&r, "rounds.jsonl: line 2: does not agree with its checksum");
    tempdir_write(dir, "out/rounds.jsonl", "{}\n{}\n", 6);
    run(STUDY "--limit 1 --max-draft 2 --resume --out %d/out");
    program_expect_error(&r, "rounds.jsonl: line 1: does not begin as a journal's lines do");
}
END_TEST

/* Forced acceptance: all, none; the length of rounds is what was asked for. */
START_TEST(forced_acceptance)
{
    run(STUDY "--limit 1 --max-draft 3 --accept 1 --ignore-eos --out %d/out");
    if (!program_runnable(&r, "mtp_study")) return;
    ck_assert_msg(r.code == 0, "%s", r.err);
    ck_assert(summary_value("all,\"all\",acceptance,,") == 1.0);
    run(STUDY "--limit 1 --max-draft 3 --accept 0 --ignore-eos --out %d/none");
    ck_assert_msg(r.code == 0, "%s", r.err);
    ck_assert_ptr_nonnull(strstr(r.out, "1.000 tokens a pass"));
    run(STUDY "--limit 1 --max-draft 0 --out %d/plain");
    ck_assert_msg(r.code == 0, "%s", r.err);
    ck_assert_ptr_nonnull(strstr(r.out, "0 drafts: 0 accepted (0.0000), 1.000 tokens a pass"));
}
END_TEST

/* ---- teacher-forced ---- */

#define OK(expr) ck_assert_msg((expr) == G4_OK, "%s", err.msg)

/* Every round of a generated text is found again in that text, teacher-forced: the same
 * drafts, as many of them accepted, the same probabilities bit for bit, though its rows went
 * through other calls; in text, in chunks, past the window. */
START_TEST(teacher_forced_finds_the_rounds)
{
    static const struct { const char *engine; int64_t chunk; } rows[] = {
        { "opt", 0 }, { "opt", 7 }, { "ref", 0 },
    };
    char data[TEMPDIR_MAX], out[TEMPDIR_MAX], *text = malloc(1 << 16);
    g4_mtp_study made, taught;
    g4_err err = { G4_OK, "" };
    g4_options o = { .model = MINIATURE, .data = data, .out = out, .max_draft = 4,
                     .max_tokens = 90, .temperature = -1, .top_k = -1, .top_p = -1, .threads = 1,
                     .ignore_eos = 1, .audio_limit = -1, .engine = rows[_i].engine,
                     .chunk = rows[_i].chunk };
    tempdir_path(data, dir, "p.jsonl");
    tempdir_path(out, dir, "out");
    OK(g4_mtp_open(&made, &o, &err));
    OK(g4_mtp_run(&made, &err));
    size_t n = 0;
    for (size_t i = 0; i < made.count; i++) {   /* prompt and text as ids */
        g4_arena arena = { NULL };
        g4_prompt p;
        OK(g4_mtp_prompt_build(&made, &made.prompts[i], &p, &arena, &err));
        n += (size_t)sprintf(text + n, "{\"ids\":[");
        for (int64_t k = 0; k < p.n; k++) n += (size_t)sprintf(text + n, "%d,", p.ids[k]);
        for (int64_t k = 0; k < made.texts[i].tokens; k++)
            n += (size_t)sprintf(text + n, "%s%d", k ? "," : "",
                                 made.ids[made.texts[i].first_id + (size_t)k]);
        n += (size_t)sprintf(text + n, "]}\n");
        g4_arena_free(&arena);
    }
    tempdir_write(dir, "texts.jsonl", text, n);
    tempdir_path(data, dir, "texts.jsonl");
    o.max_tokens = -1;
    o.teacher_forced = 1;
    OK(g4_mtp_open(&taught, &o, &err));
    OK(g4_mtp_teacher(&taught, &err));
    size_t found = 0, accepted = 0;
    for (size_t i = 0, k = 0; i < made.round_count; i++) {
        const g4_mtp_round *a = &made.rounds[i], *b;
        while (taught.rounds[k].prompt != a->prompt || taught.rounds[k].cached != a->cached) k++;
        b = &taught.rounds[k];
        int32_t judged = a->matched < a->k ? a->matched + 1 : a->k;
        if (a->k == o.max_draft) {   /* the last round of a text may be shorter */
            ck_assert_int_eq(a->matched, b->matched);
            ck_assert_int_eq(b->k, judged);
        }
        ck_assert_int_ge(b->matched, a->matched);
        for (int32_t x = 0; x < judged; x++) {
            const g4_mtp_place *p = &made.places[a->first + (size_t)x];
            const g4_mtp_place *q = &taught.places[b->first + (size_t)x];
            ck_assert(p->id == q->id && p->draft_p == q->draft_p && p->target_p == q->target_p &&
                      p->tv == q->tv && p->entropy == q->entropy);
        }
        found++;
        accepted += (size_t)a->matched;
    }
    ck_assert_uint_eq(found, made.round_count);
    ck_assert_uint_gt(accepted, 0);
    g4_mtp_close(&made);
    g4_mtp_close(&taught);
    free(text);
}
END_TEST

Suite *check_mtp_study(void)
{
    Suite *s = suite_create("mtp_study");
    TCase *t = tcase_create("mtp_study");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, engines_count_differently);
    tcase_add_test(t, cut_off_and_resumed);
    tcase_add_loop_test(t, refused, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_test(t, journals_are_kept);
    tcase_add_test(t, forced_acceptance);
    tcase_add_loop_test(t, teacher_forced_finds_the_rounds, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
