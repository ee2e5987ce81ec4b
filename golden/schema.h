/* SPDX-License-Identifier: Apache-2.0
 * The known tree of a golden file: which datasets there can be, their type and
 * rank, in the order of computation.  Readers probe for these names and never
 * list what a foreign file contains. */
#ifndef G4_GOLDEN_SCHEMA_H
#define G4_GOLDEN_SCHEMA_H

#include "golden/golden.h"

/* type is the file's own real type where any_real is set. */
typedef struct g4_schema_rule {
    g4_golden_type type;
    int any_real;
    g4_golden_role role;
    int rank, row_dims, heads_first;
} g4_schema_rule;

typedef struct g4_schema_visitor {
    void *ctx;
    /* Is there such a group?  *yes; lets whole layers and steps be skipped. */
    g4_status (*group)(void *ctx, const char *path, int *yes, g4_err *err);
    g4_status (*set)(void *ctx, const char *path, const g4_schema_rule *rule, g4_err *err);
} g4_schema_visitor;

/* Every path that a file may have, in order; stops at the first error. */
g4_status g4_schema_walk(const g4_schema_visitor *v, g4_err *err);

/* The rule for one path; 0 if the format does not know it. */
int g4_schema_find(const char *path, g4_schema_rule *rule);

/* Fills role, row_dims and heads_first of a set whose path, rank and dims stand. */
void g4_schema_apply(const g4_schema_rule *rule, g4_golden_set *s);

#endif
