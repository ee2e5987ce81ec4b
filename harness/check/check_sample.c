/* SPDX-License-Identifier: Apache-2.0
 * From logits to tokens: the filters against a straightforward version of
 * themselves, and the draws against the distributions they are drawn from.
 *
 * A chi-square sum with f degrees of freedom passes f + 2 sqrt(f x) + 2 x with
 * probability below e^-x (Laurent and Massart 2000, lemma 1); x = 21 is once in
 * 1.3e9, and the seeds are fixed. */
#include "ref/base/rng.h"
#include "ref/model/sample.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *check_sample(void);

enum { MOST = 300 };

static g4_arena arena;
static g4_dist dist, other;

static void dists_make(void)
{
    arena = (g4_arena){ NULL };
    ck_assert_int_eq(g4_dist_init(&dist, MOST, &arena, NULL), G4_OK);
    ck_assert_int_eq(g4_dist_init(&other, MOST, &arena, NULL), G4_OK);
}

static void dists_free(void)
{
    g4_arena_free(&arena);
}

static double chi_bound(double f)
{
    return f + 2 * sqrt(f * 21) + 2 * 21;
}

/* Counts against expectations; those below 5 are taken together. */
static void fits(const long *count, const double *p, int n, long draws)
{
    double chi = 0, rest = 0;
    long rest_count = 0;
    int f = -1;
    for (int i = 0; i < n; i++) {
        double want = p[i] * (double)draws;
        if (want < 5) {
            rest += want;
            rest_count += count[i];
            if (p[i] == 0.0) ck_assert_int_eq(count[i], 0);
            continue;
        }
        chi += ((double)count[i] - want) * ((double)count[i] - want) / want;
        f++;
    }
    if (rest >= 5) {
        chi += ((double)rest_count - rest) * ((double)rest_count - rest) / rest;
        f++;
    } else {
        ck_assert_int_lt(rest_count, 60);   /* Poisson of mean 5 */
    }
    ck_assert_int_ge(f, 1);
    ck_assert_msg(chi <= chi_bound(f), "chi-square %g with %d degrees of freedom", chi, f);
}

/* ---- the filters ---- */

typedef struct entry {
    int32_t id;
    float logit;
    long double p;
} entry;

static int falling(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id - y->id;
}

static int is_suppressed(const g4_sampler *s, int64_t id)
{
    for (int i = 0; i < s->suppress_count; i++)
        if (s->suppress[i] == id) return 1;
    return 0;
}

/* Sort all, cut, weigh, cut again: what the header says, in its order. */
static int plain(entry *e, const g4_sampler *s, const float *logits, int vocab)
{
    int n = 0;
    for (int i = 0; i < vocab; i++)
        if (!is_suppressed(s, i)) e[n++] = (entry){ i, logits[i], 0 };
    qsort(e, (size_t)n, sizeof *e, falling);
    if (s->temperature <= 0) {
        e[0].p = 1;
        return 1;
    }
    if (s->top_k > 0 && s->top_k < n) {
        float kth = e[s->top_k - 1].logit;
        while (e[n - 1].logit < kth) n--;
    }
    long double sum = 0, tail = 0;
    for (int i = 0; i < n; i++)
        sum += e[i].p = expl(((long double)e[i].logit - e[0].logit) / s->temperature);
    for (int i = 0; i < n; i++) e[i].p /= sum;
    if (s->top_p >= 1) return n;
    while (n > 1 && tail + e[n - 1].p <= 1 - (long double)s->top_p) tail += e[--n].p;
    for (int i = 0; i < n; i++) e[i].p /= 1 - tail;
    return n;
}

static void make_logits(float *logits, int vocab, uint64_t seed, int ties)
{
    for (int i = 0; i < vocab; i++) {
        double x = g4_rng_unit(seed, 10, (uint64_t)i) * 16 - 8;
        logits[i] = (float)(ties ? floor(x) : x);
    }
}

/* Each p: g4_exp (4 U), the sum of n (n U), the quotient and once more for top-p:
 * 2 (n + 6) U bounds it; one in the exponent's quotient, times its size below 800. */
static void same_as_plain(const g4_sampler *s, const float *logits, int vocab)
{
    entry e[MOST];
    int n = plain(e, s, logits, vocab);
    g4_dist_fill(&dist, s, logits, vocab);
    ck_assert_msg(dist.n == n, "%lld tokens left, not %d (top_k %lld, top_p %g, T %g)",
                  (long long)dist.n, n, (long long)s->top_k, s->top_p, s->temperature);
    double sum = 0, bound = (2 * (n + 6) + 2 * 800) * 0x1p-53;
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(dist.ids[i], e[i].id);
        ck_assert(fabsl((long double)dist.p[i] - e[i].p) <= (long double)bound * e[i].p + 1e-300L);
        ck_assert(dist.dense[e[i].id] == dist.p[i]);
        sum += dist.p[i];
    }
    int more = 0;
    for (int i = 0; i < vocab; i++) more += dist.dense[i] > 0;
    ck_assert_int_le(more, n);
    ck_assert(fabs(sum - 1) <= 2 * n * 0x1p-53);
}

START_TEST(filters_are_the_plain_ones)   /* _i: with ties or not */
{
    static const double temperatures[] = { 1.0, 0.3, 2.5, 0.05, 0.0 };
    static const int64_t top_ks[] = { 0, 1, 2, 17, 64, 299, 300, 10000 };
    /* none that n equal tokens can sum to: which side of it is a matter of rounding */
    static const double top_ps[] = { 1.0, 0.9507, 0.5071, 0.0113, 0.0 };
    static const int64_t suppress[] = { 3, 299, 0, 150 };
    float logits[MOST];
    for (uint64_t seed = 0; seed < 6; seed++)
        for (int t = 0; t < 5; t++)
            for (int k = 0; k < 8; k++)
                for (int p = 0; p < 5; p++) {
                    const g4_sampler s = { .temperature = temperatures[t], .top_k = top_ks[k],
                                           .top_p = top_ps[p], .suppress = suppress,
                                           .suppress_count = (int)(seed % 5) };
                    int vocab = seed == 5 ? 5 : MOST;
                    make_logits(logits, vocab, seed, _i);
                    same_as_plain(&s, logits, vocab);
                }
}
END_TEST

/* By hand: five tokens at 0, two of them tied for the second place. */
START_TEST(ties_by_hand)
{
    static const float logits[] = { 1, 3, 2, 2, 0 };
    g4_sampler s = { .temperature = 1, .top_k = 2, .top_p = 1 };
    g4_dist_fill(&dist, &s, logits, 5);
    ck_assert_int_eq(dist.n, 3);   /* both ties of the second stay */
    ck_assert(dist.ids[0] == 1 && dist.ids[1] == 2 && dist.ids[2] == 3);
    ck_assert(dist.p[1] == dist.p[2]);
    s = (g4_sampler){ .temperature = 1, .top_p = 1e-9 };
    g4_dist_fill(&dist, &s, logits, 5);
    ck_assert(dist.n == 1 && dist.ids[0] == 1 && dist.p[0] == 1.0);
    static const float flat[] = { 7, 7, 7, 7 };
    s = (g4_sampler){ .temperature = 1, .top_p = 0.5 };
    g4_dist_fill(&dist, &s, flat, 4);
    ck_assert(dist.n == 2 && dist.ids[0] == 0 && dist.ids[1] == 1);   /* drops 1/2, not more */
    ck_assert(dist.p[0] == 0.5 && dist.p[1] == 0.5);
    s = (g4_sampler){ .temperature = 1, .top_p = 1 };
    g4_dist_fill(&dist, &s, flat, 1);   /* a vocabulary of one */
    ck_assert(dist.n == 1 && dist.p[0] == 1.0);
    ck_assert_int_eq(g4_argmax(&s, flat, 4), 0);
}
END_TEST

/* So cold or so hot that a quotient overflows or nothing of it is left. */
START_TEST(extreme_temperatures)
{
    static const float logits[] = { -30, 29, 30, 30, 3 };
    static const double cold[] = { 1e-3, 1e-30, 1e-300, 5e-324 };
    for (int i = 0; i < 4; i++) {
        const g4_sampler s = { .temperature = cold[i], .top_p = 1 };
        g4_dist_fill(&dist, &s, logits, 5);
        ck_assert(dist.ids[0] == 2 && dist.ids[1] == 3 && dist.p[0] == 0.5 && dist.p[1] == 0.5);
        for (int k = 0; k < 100; k++) {
            int32_t id = g4_dist_draw(&dist, (double)k / 100);
            ck_assert_int_eq(id, k < 50 ? 2 : 3);
        }
    }
    const g4_sampler hot = { .temperature = 1e300, .top_p = 1 };
    g4_dist_fill(&dist, &hot, logits, 5);
    for (int i = 0; i < 5; i++) ck_assert(fabs(dist.p[i] - 0.2) <= 5 * 0x1p-53);
}
END_TEST

/* ---- suppressed tokens ---- */

START_TEST(suppressed_are_never_drawn)
{
    static const int64_t ids[] = { 11, 0, 63, 12 };
    float logits[64];
    make_logits(logits, 64, 3, 0);
    for (int i = 0; i < 4; i++) logits[ids[i]] = 20;   /* the likeliest ones by far */
    for (int top_k = 0; top_k < 6; top_k++)
        for (int t = 0; t < 3; t++)
            for (int p = 0; p < 3; p++) {
                const g4_sampler s = { .temperature = t, .top_k = top_k, .top_p = 0.5 * p,
                                       .suppress = ids, .suppress_count = 4 };
                ck_assert(!is_suppressed(&s, g4_argmax(&s, logits, 64)));
                for (int k = 0; k < 200; k++) {
                    int accepted;
                    double u = g4_rng_unit(1, 1, (uint64_t)k);
                    g4_dist_fill(&dist, &s, logits, 64);
                    ck_assert(!is_suppressed(&s, g4_dist_draw(&dist, u)));
                    ck_assert(!is_suppressed(&s, g4_dist_draw(&dist, 1 - 0x1p-53)));
                    /* a drafter that suppresses nothing proposes one of them */
                    const g4_sampler loose = { .temperature = 1, .top_p = 1 };
                    g4_dist_fill(&other, &loose, logits, 64);
                    int32_t id = g4_accept(&dist, &other, (int32_t)ids[k % 4], 0.0, u, &accepted);
                    ck_assert(!accepted && !is_suppressed(&s, id));
                }
            }
    static const int64_t all[] = { 0, 1, 2 };
    const g4_sampler none = { .temperature = 1, .top_k = 1, .top_p = 0.5, .suppress = all,
                              .suppress_count = 3 };
    g4_dist_fill(&dist, &none, logits, 3);   /* nothing left: still one token, no crash */
    ck_assert(dist.n == 1 && g4_dist_draw(&dist, 0.7) >= 0 && g4_dist_draw(&dist, 0.7) < 3);
}
END_TEST

/* ---- draws ---- */

enum { DRAWS = 200000 };

START_TEST(draws_follow_the_distribution)
{
    float logits[40];
    long count[40] = { 0 };
    const g4_sampler s = { .temperature = 1 + 0.5 * _i, .top_k = _i == 2 ? 9 : 0,
                           .top_p = _i == 1 ? 0.9 : 1, .seed = 77 };
    make_logits(logits, 40, 5 + (uint64_t)_i, 0);
    g4_dist_fill(&dist, &s, logits, 40);
    for (long i = 0; i < DRAWS; i++)
        count[g4_dist_draw(&dist, g4_rng_unit(s.seed, G4_DRAW_TOKEN, (uint64_t)i))]++;
    fits(count, dist.dense, 40, DRAWS);
}
END_TEST

START_TEST(draw_boundaries)
{
    static const float logits[] = { 5, 5, 5, 5 };
    const g4_sampler s = { .temperature = 1, .top_p = 1 };
    g4_dist_fill(&dist, &s, logits, 4);
    ck_assert_int_eq(g4_dist_draw(&dist, 0.0), 0);
    ck_assert_int_eq(g4_dist_draw(&dist, nextafter(0.25, 0)), 0);
    ck_assert_int_eq(g4_dist_draw(&dist, 0.25), 1);
    ck_assert_int_eq(g4_dist_draw(&dist, 1 - 0x1p-53), 3);
    /* entries without a chance are not drawn, wherever they stand */
    dist.p[0] = dist.p[3] = 0.0;
    dist.p[1] = dist.p[2] = 0.5 - 0x1p-53;
    ck_assert_int_eq(g4_dist_draw(&dist, 0.0), 1);
    ck_assert_int_eq(g4_dist_draw(&dist, 1 - 0x1p-53), 2);
}
END_TEST

/* Speculative sampling is exact: drafting from q, then accepting or drawing again,
 * gives tokens distributed as p, whatever q is; min(p, q) of them are accepted. */
START_TEST(accepted_or_not_it_is_the_target)
{
    static const struct {
        uint64_t p, q;                /* seeds of the logits */
        double p_temperature, q_temperature, q_top_p;
    } rows[] = {
        { 1, 2, 3, 3, 1 },            /* unrelated */
        { 1, 1, 3, 2, 1 },            /* alike, q sharper */
        { 1, 1, 2, 4, 0.6 },          /* q lacks tokens that p has */
        { 4, 4, 2, 2, 1 },            /* the same: everything is accepted */
        { 5, 6, 0.2, 3, 1 },          /* p nearly one token */
    };
    enum { V = 24 };
    float pl[V], ql[V];
    long count[V] = { 0 }, accepts = 0;
    double target[V], overlap = 0;
    const g4_sampler ps = { .temperature = rows[_i].p_temperature, .top_p = 1 };
    const g4_sampler qs = { .temperature = rows[_i].q_temperature, .top_p = rows[_i].q_top_p };
    make_logits(pl, V, rows[_i].p, 0);
    make_logits(ql, V, rows[_i].q, 0);
    g4_dist_fill(&other, &qs, ql, V);
    g4_dist_fill(&dist, &ps, pl, V);
    memcpy(target, dist.dense, sizeof target);
    for (int i = 0; i < V; i++) overlap += fmin(target[i], other.dense[i]);
    for (long n = 0; n < DRAWS; n++) {
        int accepted;
        uint64_t at = (uint64_t)n;
        int32_t drafted = g4_dist_draw(&other, g4_rng_unit(9, G4_DRAW_DRAFT, at));
        g4_dist_fill(&dist, &ps, pl, V);
        int32_t id = g4_accept(&dist, &other, drafted, g4_rng_unit(9, G4_DRAW_ACCEPT, at),
                               g4_rng_unit(9, G4_DRAW_TOKEN, at), &accepted);
        ck_assert(!accepted || id == drafted);
        count[id]++;
        accepts += accepted;
    }
    fits(count, target, V, DRAWS);
    /* a binomial number: six deviations, and one for a rate next to 0 or 1 */
    double deviation = sqrt(DRAWS * overlap * fmax(0, 1 - overlap));
    ck_assert(fabs((double)accepts - DRAWS * overlap) <= 6 * deviation + 1);
}
END_TEST

/* With temperature 0 both are one token: kept if it is the same, else replaced. */
START_TEST(accept_when_greedy)
{
    static const float a[] = { 0, 9, 1 }, b[] = { 0, 1, 9 };
    const g4_sampler s = { .temperature = 0 };
    for (int k = 0; k < 50; k++) {
        int accepted;
        double u = g4_rng_unit(2, 2, (uint64_t)k), w = g4_rng_unit(2, 3, (uint64_t)k);
        g4_dist_fill(&dist, &s, a, 3);
        g4_dist_fill(&other, &s, a, 3);
        ck_assert_int_eq(g4_accept(&dist, &other, 1, u, w, &accepted), 1);
        ck_assert(accepted);
        g4_dist_fill(&dist, &s, a, 3);
        g4_dist_fill(&other, &s, b, 3);
        ck_assert_int_eq(g4_accept(&dist, &other, 2, u, w, &accepted), 1);
        ck_assert(!accepted);
    }
}
END_TEST

/* ---- random numbers, as sampling uses them ---- */

START_TEST(units_are_uniform)   /* _i: the purpose */
{
    enum { BINS = 64 };
    double p[BINS * BINS];
    long count[BINS], pairs[BINS * BINS];
    for (int i = 0; i < BINS * BINS; i++) p[i] = 1.0 / (BINS * BINS);
    for (uint64_t seed = 0; seed < 3; seed++) {
        memset(count, 0, sizeof count);
        memset(pairs, 0, sizeof pairs);
        double before = g4_rng_unit(seed, (uint64_t)_i, 0);
        for (uint64_t i = 1; i <= DRAWS; i++) {
            double u = g4_rng_unit(seed, (uint64_t)_i, i);
            count[(int)(u * BINS)]++;
            pairs[(int)(before * BINS) * BINS + (int)(u * BINS)]++;   /* with its predecessor */
            before = u;
        }
        double flat[BINS];
        for (int i = 0; i < BINS; i++) flat[i] = 1.0 / BINS;
        fits(count, flat, BINS, DRAWS);
        fits(pairs, p, BINS * BINS, DRAWS);
        memset(pairs, 0, sizeof pairs);   /* and with another purpose's of the same token */
        for (uint64_t i = 0; i < DRAWS; i++)
            pairs[(int)(g4_rng_unit(seed, (uint64_t)_i, i) * BINS) * BINS +
                  (int)(g4_rng_unit(seed, (uint64_t)(_i + 1) % 3, i) * BINS)]++;
        fits(pairs, p, BINS * BINS, DRAWS);
    }
}
END_TEST

Suite *check_sample(void)
{
    Suite *s = suite_create("sample");
    TCase *t = tcase_create("filters");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, dists_make, dists_free);
    tcase_add_loop_test(t, filters_are_the_plain_ones, 0, 2);
    tcase_add_test(t, ties_by_hand);
    tcase_add_test(t, extreme_temperatures);
    tcase_add_test(t, suppressed_are_never_drawn);
    suite_add_tcase(s, t);
    t = tcase_create("draws");
    tcase_set_tags(t, "unit");
    tcase_set_timeout(t, 30);
    tcase_add_checked_fixture(t, dists_make, dists_free);
    tcase_add_loop_test(t, draws_follow_the_distribution, 0, 3);
    tcase_add_test(t, draw_boundaries);
    tcase_add_loop_test(t, accepted_or_not_it_is_the_target, 0, 5);
    tcase_add_test(t, accept_when_greedy);
    tcase_add_loop_test(t, units_are_uniform, 0, 3);
    suite_add_tcase(s, t);
    return s;
}
