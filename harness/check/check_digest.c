/* SPDX-License-Identifier: Apache-2.0
 * Every activation of every tiny case, pinned: harness/check/data/digests.txt has
 * one SHA-256 a case, the same on every machine, compiler and instruction set.
 * To write it anew after a change that is meant to change bits: make digests. */
#include "harness/check/model_run.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *check_digest(void);

#define DIGESTS "harness/check/data/digests.txt"

/* The line of this case, or "". */
static void pinned(const char *file, char hex[G4_SHA256_HEX])
{
    char line[512], name[256];
    FILE *f = fopen(DIGESTS, "r");
    ck_assert_msg(f != NULL, "%s is missing", DIGESTS);
    hex[0] = 0;
    while (fgets(line, sizeof line, f)) {
        char digits[G4_SHA256_HEX];
        if (sscanf(line, "%64s %255s", digits, name) == 2 && strcmp(name, file) == 0)
            memcpy(hex, digits, sizeof digits);
    }
    fclose(f);
}

static void compute(int i, char hex[G4_SHA256_HEX])
{
    char dir[256], draft[300];
    const char *file = model_run_cases[i];
    model_run_dir(dir, file);
    snprintf(draft, sizeof draft, "%s/assistant", dir);
    model_run r = { .model = dir, .inputs = file, .draft = draft, .threads = 2, .mask = -1 };
    model_run_digest(&r, hex);
}

START_TEST(pinned_bits)
{
    char want[G4_SHA256_HEX], have[G4_SHA256_HEX];
    compute(_i, have);
    if (getenv("G4_PRINT_DIGESTS")) {
        printf("%s  %s\n", have, model_run_cases[_i]);
        return;
    }
    pinned(model_run_cases[_i], want);
    ck_assert_msg(strcmp(want, have) == 0, "%s: has %s, pinned is %s", model_run_cases[_i], have,
                  want);
}
END_TEST

Suite *check_digest(void)
{
    Suite *s = suite_create("digest");
    TCase *t = tcase_create("pinned");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, pinned_bits, 0, model_run_case_count());
    suite_add_tcase(s, t);
    return s;
}
