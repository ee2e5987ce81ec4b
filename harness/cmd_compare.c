/* SPDX-License-Identifier: Apache-2.0
 * gemma4 compare GOLDEN OUT [--plot F.svg] [--json]: two golden files, or what other
 * programs dumped (golden/foreign.h), dataset by dataset.  Exit 0: all held; 1: one did
 * not, or nothing was there to compare; 2: a file is bad or a shape differs. */
#include "golden/foreign.h"
#include "harness/compare.h"
#include "harness/options.h"
#include "harness/plot.h"
#include "harness/text.h"

#include <string.h>

/* Another mask is another computation: say so before the numbers do. */
static void note_masks(const g4_golden *golden, const g4_golden *ours)
{
    const char *a = g4_golden_text(golden, "mask"), *b = g4_golden_text(ours, "mask");
    if (a && b && strcmp(a, b) != 0)
        fprintf(stderr, "note: the golden's mask is %s, the other file's %s\n", a, b);
}

static void note_unknown(const g4_golden *g)
{
    char path[512], names[512];
    const char *text = g4_golden_text(g, G4_FOREIGN_UNKNOWN);
    if (text)
        fprintf(stderr, "note: %s: names that mean nothing here are left out: %s\n",
                g4_text_safe(path, sizeof path, g4_golden_path(g)),
                g4_text_safe(names, sizeof names, text));
}

static g4_status report(const g4_compare *c, const g4_options *o, g4_err *err)
{
    if (!o->json) {
        g4_compare_table(c, stdout);
    } else {
        json_t *j = g4_compare_json(c);
        if (!j) return g4_nomem(err, "JSON");
        int bad = json_dumpf(j, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0;
        json_decref(j);
        if (bad || putchar('\n') == EOF)
            return g4_fail(err, G4_EIO, "standard output: cannot write");
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        return g4_fail(err, G4_EIO, "standard output: cannot write");
    return o->plot ? g4_plot_compare(c, o->plot, err) : G4_OK;
}

int cmd_compare(const g4_options *o, g4_err *err)
{
    g4_compare *c = NULL;
    g4_golden *ours = NULL;
    int held = 0;
    g4_status s = o->plot ? g4_plot_check(o->plot, err) : G4_OK;
    if (s == G4_OK) s = g4_compare_open(&c, o->args[0], o->args[1], 0, err);
    if (s == G4_OK) s = g4_golden_open(&ours, o->args[1], 0, err);
    if (s == G4_OK) {
        note_masks(g4_compare_golden(c), ours);
        note_unknown(g4_compare_golden(c));
        note_unknown(ours);
    }
    if (s == G4_OK) s = g4_compare_file(c, ours, err);
    if (s == G4_OK) s = report(c, o, err);
    if (s == G4_OK) held = g4_compare_finish(c).held;
    g4_golden_close(ours);
    g4_compare_close(c);
    return s != G4_OK ? 2 : held ? 0 : 1;
}
