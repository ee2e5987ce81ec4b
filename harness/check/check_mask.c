/* SPDX-License-Identifier: Apache-2.0
 * The four masks, cell by cell, against the table in ref/model/mask.h written out
 * as conditions on (query, key): random rows of token types, every window. */
#include "ref/base/rng.h"
#include "ref/input/prompt.h"
#include "ref/model/config.h"
#include "ref/model/mask.h"

#include <check.h>
#include <string.h>

Suite *check_mask(void);

enum { MOST = 64 };

static int soft(int8_t type)
{
    return type == G4_IMAGE || type == G4_VIDEO;
}

/* In one maximal run of adjacent image or video tokens: all between them are such. */
static int same_block(const int8_t *types, int64_t a, int64_t b)
{
    int64_t lo = a < b ? a : b, hi = a < b ? b : a;
    for (int64_t i = lo; i <= hi; i++)
        if (!soft(types[i])) return 0;
    return 1;
}

static int sees(g4_mask m, int kind, int64_t W, const int8_t *types, int64_t q, int64_t k)
{
    int causal = k <= q, block = same_block(types, q, k), recent = k > q - W;
    if (kind == G4_FULL) return m == G4_MASK_HF_FORWARD ? causal || block : causal;
    switch (m) {
    case G4_MASK_OFFICIAL: return (causal || block) && q - W < k && k < q + W;
    case G4_MASK_HF_HELPER: return (causal || block) && recent;
    case G4_MASK_HF_FORWARD: return (causal && recent) || block;
    default: return causal && recent;
    }
}

static void check_row(g4_mask m, int kind, int64_t W, const int8_t *types, int64_t n, int64_t q,
                      g4_span block)
{
    g4_span keys = g4_mask_keys(m, kind, W, q, block);
    ck_assert(keys.begin >= 0 && keys.begin <= q && keys.end > q && keys.end <= n);
    for (int64_t k = 0; k < n; k++) {   /* so the cells seen are one range, too */
        int want = sees(m, kind, W, types, q, k);
        if (want != (k >= keys.begin && k < keys.end))
            ck_abort_msg("%s, kind %d, window %lld, query %lld: key %lld should be %d",
                         g4_mask_name(m), kind, (long long)W, (long long)q, (long long)k, want);
    }
}

/* Types in runs, as prompts have them: text, images, frames, sound. */
static int64_t make_types(int8_t *types, uint64_t seed)
{
    int64_t n = 1 + (int64_t)(g4_rng_u64(seed, 0, 0) % MOST);
    uint64_t run = 0, draw = 1;
    int8_t type = 0;
    for (int64_t i = 0; i < n; i++) {
        if (run == 0) {
            run = 1 + g4_rng_u64(seed, 1, draw) % 20;
            type = (int8_t)(g4_rng_u64(seed, 2, draw++) % 4);
        }
        types[i] = type;
        run--;
    }
    return n;
}

START_TEST(cell_by_cell)   /* _i: the mask */
{
    int8_t types[MOST];
    g4_span blocks[MOST];
    for (uint64_t seed = 0; seed < 400; seed++) {
        int64_t n = make_types(types, seed);
        int64_t W = 1 + (int64_t)(g4_rng_u64(seed, 3, 0) % (uint64_t)(n + 8));
        g4_blocks(blocks, types, n);
        for (int kind = 0; kind < 2; kind++)
            for (int64_t q = 0; q < n; q++)
                check_row((g4_mask)_i, kind, W, types, n, q, blocks[q]);
    }
}
END_TEST

START_TEST(blocks_are_maximal_runs)
{
    int8_t types[MOST];
    g4_span blocks[MOST];
    for (uint64_t seed = 1000; seed < 1400; seed++) {
        int64_t n = make_types(types, seed);
        g4_blocks(blocks, types, n);
        for (int64_t i = 0; i < n; i++) {
            g4_span b = blocks[i];
            if (!soft(types[i])) {
                ck_assert(b.begin == i && b.end == i);
                continue;
            }
            ck_assert(b.begin <= i && b.end > i && b.begin >= 0 && b.end <= n);
            for (int64_t k = b.begin; k < b.end; k++) ck_assert(soft(types[k]));
            ck_assert(b.begin == 0 || !soft(types[b.begin - 1]));
            ck_assert(b.end == n || !soft(types[b.end]));
        }
    }
}
END_TEST

/* By hand, window 3:  t i i i i t, query 2 (the second of four image tokens). */
START_TEST(by_hand)
{
    static const int8_t types[] = { 0, 1, 1, 1, 1, 0 };
    static const struct {
        g4_mask m;
        g4_span sliding, full;
    } want[] = {
        { G4_MASK_OFFICIAL, { 0, 5 }, { 0, 3 } },     /* key 4 is within 2 + 3 */
        { G4_MASK_HF_HELPER, { 0, 5 }, { 0, 3 } },
        { G4_MASK_HF_FORWARD, { 0, 5 }, { 0, 5 } },
        { G4_MASK_CAUSAL, { 0, 3 }, { 0, 3 } },
    };
    g4_span blocks[6];
    g4_blocks(blocks, types, 6);
    for (int i = 0; i < 4; i++)
        for (int kind = 0; kind < 2; kind++) {
            g4_span got = g4_mask_keys(want[i].m, kind, 3, 2, blocks[2]);
            g4_span w = kind ? want[i].full : want[i].sliding;
            ck_assert_msg(got.begin == w.begin && got.end == w.end, "%s", g4_mask_name(want[i].m));
        }
    /* Query 1: official stops at 1 + 3, hf-helper sees the block's end. */
    ck_assert_int_eq(g4_mask_keys(G4_MASK_OFFICIAL, G4_SLIDING, 3, 1, blocks[1]).end, 4);
    ck_assert_int_eq(g4_mask_keys(G4_MASK_HF_HELPER, G4_SLIDING, 3, 1, blocks[1]).end, 5);
    /* Query 4: hf-forward sees the block's begin, which the window has left. */
    ck_assert_int_eq(g4_mask_keys(G4_MASK_HF_HELPER, G4_SLIDING, 3, 4, blocks[4]).begin, 2);
    ck_assert_int_eq(g4_mask_keys(G4_MASK_HF_FORWARD, G4_SLIDING, 3, 4, blocks[4]).begin, 1);
}
END_TEST

START_TEST(names)
{
    static const char *const all[] = { "official", "hf-helper", "hf-forward", "causal" };
    static const char *const bad[] = { "", "Official", "hf_helper", "causal " };
    g4_mask m;
    g4_err err;
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(g4_mask_by_name(&m, all[i], &err), G4_OK);
        ck_assert_int_eq(m, i);
        ck_assert_str_eq(g4_mask_name(m), all[i]);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(g4_mask_by_name(&m, bad[i], &err), G4_EINPUT);
        ck_assert_msg(strstr(err.msg, "hf-forward") != NULL, "%s", err.msg);
    }
}
END_TEST

Suite *check_mask(void)
{
    Suite *s = suite_create("mask");
    TCase *t = tcase_create("cells");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 30);
    tcase_add_loop_test(t, cell_by_cell, 0, 4);
    tcase_add_test(t, blocks_are_maximal_runs);
    tcase_add_test(t, by_hand);
    tcase_add_test(t, names);
    suite_add_tcase(s, t);
    return s;
}
