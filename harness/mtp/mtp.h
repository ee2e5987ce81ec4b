/* SPDX-License-Identifier: Apache-2.0
 * The acceptance study behind gemma4 mtp: prompts are answered with drafting, every round
 * is recorded, and all figures are derived from the rounds.
 *
 *   open.c      options -> a study
 *   data.c      F.jsonl -> prompts            record.c   a round -> its numbers
 *   study.c     prompts -> texts, rounds      journal.c  texts kept as they come, read again
 *   output.c    rounds.h5                     summary.c  summary.csv, with intervals
 *   report.c    what engines would print      teacher.c  every position of given texts */
#ifndef G4_HARNESS_MTP_H
#define G4_HARNESS_MTP_H

#include "harness/eval/jsonl.h"
#include "harness/journal.h"
#include "harness/runtime.h"
#include "ref/input/prompt_build.h"
#include "ref/model/generate.h"

typedef struct g4_mtp_prompt {
    const char *name;            /* file and line */
    const char *domain;          /* what it is counted under */
    const char *text;            /* NULL: ids */
    const int32_t *ids;          /* [n] */
    int64_t n;
    const g4_media *media;
    size_t media_count;
    const char *modality;        /* "text", "image", "audio", "video" or "mixed" */
} g4_mtp_prompt;

/* A draft: probabilities under the sampler that is in use; greedy, of softmax. */
typedef struct g4_mtp_place {
    int32_t id;
    double draft_p, target_p;    /* of the drafted token */
    double tv;                   /* total variation between drafter and target */
    double entropy;              /* of the target, nats */
} g4_mtp_place;

typedef struct g4_mtp_round {
    int32_t prompt, cached, k, matched, taken, written;   /* g4_round; written to the text */
    int32_t next;                /* the token behind the matched ones */
    double draft_s, verify_s;
    size_t first;                /* of its k places */
} g4_mtp_round;

typedef struct g4_mtp_text {
    int done;
    int64_t prompt_tokens, tokens;
    double prefill_s, decode_s;
    size_t first_id;             /* of its tokens */
} g4_mtp_text;

typedef struct g4_mtp_study {
    const g4_options *o;
    g4_runtime rt;
    g4_tokenizer *tokenizer;
    g4_processor processor;
    g4_generate_options opt;
    g4_pace pace;
    g4_jsonl file;               /* --data */
    g4_mtp_prompt *prompts;      /* [count] */
    g4_mtp_text *texts;          /* [count] */
    size_t count;
    g4_mtp_round *rounds;        /* malloc'ed, as the next two */
    g4_mtp_place *places;
    int32_t *ids;
    size_t round_count, round_room, place_count, place_room, id_count, id_room;
    double draft_cost, verify_cost[G4_MAX_DRAFT + 2];   /* seconds; [n]: of n rows; 0: unknown */
    g4_arena arena;
} g4_mtp_study;

/* As the options say; s is filled with zeros first, so that g4_mtp_close is right in any case. */
g4_status g4_mtp_open(g4_mtp_study *s, const g4_options *o, g4_err *err);
void g4_mtp_close(g4_mtp_study *s);

/* --data; text is tokenised and media are read only when a prompt's turn comes. */
g4_status g4_mtp_data(g4_mtp_study *s, g4_err *err);
/* The prompt's tokens, pictures and sounds, in the arena. */
g4_status g4_mtp_prompt_build(const g4_mtp_study *s, const g4_mtp_prompt *q, g4_prompt *p,
                              g4_arena *arena, g4_err *err);

/* Room for one element more at the end of a malloc'ed array; NULL: out of memory. */
void *g4_mtp_grow(void *array, size_t count, size_t *room, size_t size);
g4_mtp_round *g4_mtp_add_round(g4_mtp_study *s);
g4_mtp_place *g4_mtp_add_place(g4_mtp_study *s);
int g4_mtp_add_id(g4_mtp_study *s, int32_t id);   /* 0: out of memory */

/* What a round's numbers are computed in. */
typedef struct g4_mtp_meter {
    g4_dist p, q;
    g4_sampler target, draft;
    int softmax;                 /* greedy: no filters */
    int64_t vocab;
} g4_mtp_meter;
g4_status g4_mtp_meter_open(g4_mtp_meter *m, const g4_mtp_study *s, g4_arena *arena, g4_err *err);
/* Of one drafted token, by the logits [V] of both. */
g4_mtp_place g4_mtp_measure(g4_mtp_meter *m, const float *target, const float *draft, int32_t id);

/* All prompts that have no text yet. */
g4_status g4_mtp_run(g4_mtp_study *s, g4_err *err);
/* Costs of a draft step and of verifying n rows, behind the longest prompt's context. */
g4_status g4_mtp_costs(g4_mtp_study *s, g4_err *err);

/* DIR/rounds.jsonl (harness/journal.h), a line a prompt; with --resume its texts are taken
 * over. */
g4_status g4_mtp_journal_open(g4_journal *j, g4_mtp_study *s, g4_err *err);
g4_status g4_mtp_journal_add(const g4_journal *j, const g4_mtp_study *s, size_t prompt,
                             size_t first_round, g4_err *err);
const char *g4_mtp_way_name(g4_draft_way way);

g4_status g4_mtp_write_rounds(const g4_mtp_study *s, const char *path, g4_err *err);
g4_status g4_mtp_write_summary(const g4_mtp_study *s, const char *path, g4_err *err);

/* One engine's own figures for these rounds. */
typedef struct g4_mtp_report {
    int64_t rounds, drafted, accepted, at[G4_MAX_DRAFT];
    double rate, length;
    double rate_at[G4_MAX_DRAFT];
} g4_mtp_report;
g4_mtp_report g4_mtp_engine(const g4_mtp_study *s, g4_draft_way way);
/* The line that it would print; returns buf. */
char *g4_mtp_engine_line(char *buf, size_t size, const g4_mtp_report *r, g4_draft_way way,
                         int64_t most);

/* --teacher-forced: instead of all that. */
g4_status g4_mtp_teacher(g4_mtp_study *s, g4_err *err);

#endif
