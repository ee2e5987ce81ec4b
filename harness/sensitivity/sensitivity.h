/* SPDX-License-Identifier: Apache-2.0
 * gemma4 sensitivity: which tensor, which layer, which bits.  A point is a set of changes
 * (weights, inputs of matrices, cached keys and values, each of some places rounded to some
 * type); what comes of it is measured against the float32 reference at every layer's output
 * and at the logits.
 *
 *   types.c     what values are rounded to        data.c      documents and questions
 *   slots.c     the matrices that can change      points.c    options -> points
 *   bench.c     the reference, recorded once;     measure.c   figures with intervals
 *               a point from there                recipe.c    types for a byte budget
 *   drafted.c   points of the drafter             room.c      memory, before it is taken
 *   journal.c   points kept as they come          report.c, summary.c   tables and a page
 *
 * The reference's input of every layer and its logits are recorded once, in a file of no name
 * that is mapped: a point that first changes layer l begins with what the reference had there,
 * so layers before l are never computed again.  Layers run one by one for all documents; in
 * memory are one layer's rounded weights and one layer's activations. */
#ifndef G4_HARNESS_SENSITIVITY_H
#define G4_HARNESS_SENSITIVITY_H

#include "harness/eval/jsonl.h"
#include "harness/journal.h"
#include "harness/kl/kl.h"
#include "ref/model/session.h"

/* ---- types.c ---- */

/* A number format, or one that is only simulated: s4b32 has 4 bits in blocks of 32 values,
 * symmetric as ggml's Q4_0 (the value of largest size is the last level), a3b64 an offset, too,
 * as Q4_1; scale and offset in float16; b0: a block is a row. */
typedef struct g4_sens_type {
    char name[16];
    int dtype;                   /* a g4_dtype; -1: simulated */
    int bits, affine;
    int64_t block;
} g4_sens_type;

enum { G4_SENS_TYPES = 120 };    /* most of a study; an index fits in a signed char */

g4_status g4_sens_type_parse(g4_sens_type *t, const char *name, size_t len, g4_err *err);
/* Bytes of a row; real formats: of what quantize would take for such a row. */
uint64_t g4_sens_row_bytes(const g4_sens_type *t, int64_t cols);
/* y [n] = x [n] as it comes back; y may be x. */
void g4_sens_round(const g4_sens_type *t, float *y, const float *x, int64_t n);

/* ---- slots.c ---- */

/* A matrix.  The table of the embedding is two: what is looked up, and the output matrix. */
typedef struct g4_sens_slot {
    const char *name;            /* ggml's, without ".weight" */
    const char *kind;            /* attn_q, ffn_down, embedding, head, vision, drafter, ... */
    int64_t layer;               /* -1: before the layers, L: behind them, L + 1: the drafter's */
    int text;                    /* of the text model: counted in bytes */
    g4_mat mat;                  /* as the model has it */
    g4_mat *at;                  /* the candidate's */
} g4_sens_slot;

typedef struct g4_sens_slots {
    g4_sens_slot *list;
    size_t count, table, head;   /* table, head: the embedding's two */
    uint64_t other;              /* bytes of the text model's other tensors, float32 */
} g4_sens_slots;

/* m, draft: the candidates, whose matrices will change; draft NULL: none. */
g4_status g4_sens_slots_open(g4_sens_slots *s, g4_model *m, g4_model *draft, g4_arena *arena,
                             g4_err *err);

/* ---- data.c ---- */

typedef struct g4_sens_doc {
    const char *domain;
    int domain_id;
    size_t line;                 /* of --data, from 0 */
    g4_prompt prompt;            /* with what is to be predicted behind it */
    g4_span *blocks;             /* [n] */
    g4_soft soft;                /* rows NULL: no media */
    int64_t first;               /* rows of all documents before this one */
    int64_t scored;              /* of its last rows */
    int64_t score_first;         /* scored rows of all documents before it */
    int64_t drafted;             /* the last of the scored ones, which a drafter predicts, too */
    const int32_t *next;         /* [scored] what those rows predict */
    const int32_t *choices;      /* [choice_count] tokens that would begin an answer; NULL: none */
    int64_t choice_count, answer;
} g4_sens_doc;

typedef struct g4_sens_data {
    g4_jsonl file;
    g4_sens_doc *docs;
    size_t count, domains, questions;
    const char **domain;         /* [domains] in the order of their first lines */
    int64_t rows, scored, longest, drafted;
    int64_t media_rows;          /* of the largest call of a media matrix, padding included */
    int pictures, sounds;        /* are there any? */
    g4_arena arena;
} g4_sens_data;

/* Lines of --data:
 *   text                 all of it is predicted, behind <bos>
 *   prompt, target       the target is; perhaps media, as mtp's
 *   prompt, choices, answer   the answer's first token is: choices are told apart by theirs
 *   domain               what it is counted under; "all" where it is missing */
g4_status g4_sens_data_open(g4_sens_data *d, const g4_options *o, const g4_model *m,
                            const g4_tokenizer *tokenizer, g4_err *err);
void g4_sens_data_close(g4_sens_data *d);

/* ---- points.c ---- */

/* By slot (layer for cache): index of a type, -1: as it is. */
typedef struct g4_sens_point {
    const char *name;            /* all of it in words: "weights of blk.3.ffn_down as q4_k" */
    const char *by, *what, *of, *leave, *type;   /* columns of the tables */
    signed char *weight, *input, *cache;
} g4_sens_point;

typedef struct g4_sens_points {
    g4_sens_point *list;
    size_t count, room;
} g4_sens_points;

/* ---- bench.c ---- */

typedef struct g4_sens_study g4_sens_study;
typedef struct g4_sens_bench g4_sens_bench;

/* How far x is from what the reference has. */
typedef struct g4_sens_error {
    double relative, cosine;
} g4_sens_error;

/* What a run of a point leaves; arrays are the bench's until the next one. */
typedef struct g4_sens_run {
    int64_t first, last;         /* layers [first, last) ran; first L: the head alone */
    const g4_sens_error *layers; /* [L] of outputs; before `first` zeros */
    double weight_error;         /* relative L2 of all rounded weights; 0: none */
    const g4_kl_token *tokens;   /* [scored]; NULL: --depth ended before the logits */
    const double *accepted;      /* [scored] of the drafter's; NULL: not a point of the drafter */
    const int32_t *chosen;       /* [questions] index of the likeliest choice */
    double seconds;
} g4_sens_run;

g4_status g4_sens_bench_open(g4_sens_bench **b, g4_sens_study *s, g4_err *err);
g4_status g4_sens_bench_run(g4_sens_bench *b, const g4_sens_point *p, g4_sens_run *run,
                            g4_err *err);
void g4_sens_bench_close(g4_sens_bench *b);

/* A column of what meets a matrix. */
typedef struct g4_sens_channel {
    int32_t column;
    double rms, over;            /* over: times the median column's */
} g4_sens_channel;
enum { G4_SENS_CHANNELS = 8 };   /* most outstanding ones that are kept of each matrix */

/* ---- the study ---- */

struct g4_sens_study {
    const g4_options *o;
    g4_runtime rt;
    g4_model candidate, draft;   /* rt.model and rt.draft with matrices of their own choice */
    g4_mask mask;
    g4_tokenizer *tokenizer;
    g4_sens_slots slots;
    g4_sens_data data;
    g4_sens_type types[G4_SENS_TYPES];   /* number formats first, at their g4_dtype */
    int type_count;
    int chosen[G4_SENS_TYPES], chosen_count;   /* --types that are types */
    g4_sens_points points;
    g4_journal journal;
    json_t *results;             /* array of the journal's lines */
    /* of the reference: */
    double *noise;               /* [L] relative L2 of float32 itself at each output */
    g4_sens_channel *channels;   /* [slots][G4_SENS_CHANNELS]; column -1: none */
    int32_t *reference_choice;   /* [questions] */
    double *reference_accepted;  /* [scored] chance that a draft is accepted, at temperature 1 */
    double reference_seconds;
    g4_arena arena;
};

/* --types, --by, --of, --leave, --recipe; the data are known by then. */
g4_status g4_sens_points_open(g4_sens_study *s, g4_err *err);
/* A recipe file as a point; what: its column. */
g4_status g4_sens_point_recipe(g4_sens_study *s, const char *path, const char *what,
                               g4_err *err);
/* Bytes of the text model's tensors with its weights so; bits of the changed ones a weight. */
uint64_t g4_sens_point_bytes(const g4_sens_study *s, const g4_sens_point *p);
double g4_sens_point_bits(const g4_sens_study *s, const g4_sens_point *p);

/* measure.c: what is measured of all documents and of each domain, by the names that the
 * journal, tables and arrays have. */
enum { G4_SENS_FIGURES = 7 };
extern const char *const g4_sens_figures[G4_SENS_FIGURES];
/* The journal's line of a point. */
json_t *g4_sens_measure(const g4_sens_study *s, const g4_sens_point *p, const g4_sens_run *r);
/* Difference of two results' mean KL, documents paired, with a 95 % interval. */
typedef struct g4_sens_figure {
    double value, lo, hi;
} g4_sens_figure;
int g4_sens_difference(const g4_sens_study *s, const json_t *a, const json_t *b,
                       g4_sens_figure *f);

/* journal.c */
g4_status g4_sens_journal_open(g4_sens_study *s, g4_err *err);
const json_t *g4_sens_result(const g4_sens_study *s, const char *name);   /* NULL: not yet */

/* recipe.c: --budget; each recipe is written, and becomes a point. */
g4_status g4_sens_budget_check(const g4_sens_study *s, g4_err *err);
g4_status g4_sens_recipes(g4_sens_study *s, g4_err *err);
uint64_t g4_sens_recipe_bytes(const g4_sens_study *s);   /* that choosing takes; 0: no --budget */
/* Sum of the single tensors' KLs; NAN where one has not been measured. */
double g4_sens_predicted(const g4_sens_study *s, const g4_sens_point *p);

/* report.c, summary.c */
double g4_sens_number(const json_t *result, const char *key);   /* NAN: none */
const json_t *g4_sens_domain(const json_t *result, const char *domain);
g4_status g4_sens_report(const g4_sens_study *s, g4_err *err);
g4_status g4_sens_summary(const g4_sens_study *s, const char *path, g4_err *err);

#endif
