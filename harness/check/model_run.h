/* SPDX-License-Identifier: Apache-2.0
 * For the suites that ask whether bits stay: one golden case through the model
 * under given circumstances, and one SHA-256 over everything the observer saw
 * (each dataset whole, so pieces of a prefill in chunks may come as they like). */
#ifndef G4_HARNESS_CHECK_MODEL_RUN_H
#define G4_HARNESS_CHECK_MODEL_RUN_H

#include "ref/base/sha256.h"
#include "ref/dtype/mat.h"

#include <stdint.h>

typedef struct model_run {
    const char *model, *inputs;     /* folder, golden file */
    const char *draft;              /* NULL: no drafter; else three draft steps are observed, too */
    const char *isa;                /* NULL: all this CPU has */
    int threads;
    int64_t chunk;                  /* 0: at once */
    int mask;                       /* -1: the file's */
    g4_dtype kv;
    int stream, pair;               /* attention as engine opt has it; --bf16 pair */
    int panels;                     /* quantized weights in panels, of which there must be some */
} model_run;

/* Fails the test on any error. */
void model_run_digest(const model_run *r, char hex[G4_SHA256_HEX]);

/* Cases that fit the suites: "golden/tiny/small/text.h5" and so on; NULL at the end. */
extern const char *const model_run_cases[];
int model_run_case_count(void);
/* "golden/tiny/small/text.h5" -> "golden/tiny/small/model"; returns dir. */
char *model_run_dir(char dir[256], const char *file);

#endif
