/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a command line, its words between NULs or line ends; then the
 * lists and names that its values are.  What is accepted lies in the ranges of
 * the option table. */
#include "harness/options.h"
#include "kernels_opt/cpu.h"
#include "ref/dtype/dtype.h"
#include "ref/input/tokenizer.h"
#include "ref/model/generate.h"
#include "ref/model/mask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_WORDS = 2000 };

static void require(int holds)
{
    if (!holds) abort();
}

static void refused(const g4_err *err)
{
    require(err->msg[0] != 0 && !strchr(err->msg, '\n'));
    for (const char *p = err->msg; *p; p++) require((unsigned char)*p >= 32 && *p != 127);
}

static void check_values(const g4_options *o)
{
    g4_arena arena = { NULL };
    g4_err err = { G4_OK, "" };
    g4_mask mask;
    g4_bos bos;
    int32_t *ids;
    int64_t count;
    unsigned isas;
    if (o->ids) {
        require(g4_ids_parse(o->ids, &arena, &ids, &count, &err) == G4_OK && count >= 1);
        for (int64_t i = 0; i < count; i++) require(ids[i] >= 0);
    }
    /* Every choice of the option table is a name that its reader knows. */
    if (o->mask) require(g4_mask_by_name(&mask, o->mask, &err) == G4_OK);
    if (o->bos) require(g4_bos_parse(&bos, o->bos, &err) == G4_OK);
    if (o->kv) require(g4_dtype_by_name(o->kv) >= 0);
    if (o->isa && g4_isa_parse(&isas, o->isa, &err) != G4_OK) refused(&err);
    g4_arena_free(&arena);
}

static void check_options(const g4_options *o)
{
    require(o->command != NULL && o->arg_count >= 0 && o->arg_count <= G4_MAX_ARGS);
    for (int i = 0; i < o->arg_count; i++) require(o->args[i] != NULL);
    require(o->media_count >= 0 && o->media_count <= G4_MAX_MEDIA);
    for (int i = 0; i < o->media_count; i++) require(o->media[i].path[0] != 0);
    require(o->threads >= 0 && o->threads <= 1024 && o->max_draft >= -1);
    require(o->max_draft <= G4_MAX_DRAFT && o->chunk >= 0 && o->ctx >= 0);
    require(o->max_tokens >= -1 && o->top_k >= -1 && o->top_p <= 1);
    require(isfinite(o->temperature) && isfinite(o->top_p) && isfinite(o->audio_limit));
    require(o->thinking >= -1 && o->thinking <= 1);
    check_values(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char program[] = "gemma4";
    char *argv[MAX_WORDS + 1] = { program };
    int argc = 1;
    g4_options o;
    g4_err err = { G4_OK, "" };
    char *text = malloc(size + 1);
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = 0;
    for (char *p = text, *end = text + size; p <= end && argc < MAX_WORDS; p += strlen(p) + 1) {
        argv[argc++] = p;
        p[strcspn(p, "\n")] = 0;
    }
    if (g4_options_parse(&o, argc, argv, &err) == G4_OK) check_options(&o);
    else refused(&err);
    free(text);
    return 0;
}
