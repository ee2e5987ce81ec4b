/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/help.h"

#include "harness/text.h"

#include <string.h>

enum { WIDTH = 80, COMMAND_COLUMN = 14, OPTION_COLUMN = 24 };

void g4_help_index(FILE *out)
{
    const g4_command_row *row;
    fputs("usage: gemma4 COMMAND [options]\n\n", out);
    for (size_t i = 0; (row = g4_command_at(i)) != NULL; i++) {
        fprintf(out, "  %-*s", COMMAND_COLUMN - 2, row->name);
        g4_text_wrap(out, row->summary, COMMAND_COLUMN, WIDTH);
    }
    fputs("\ngemma4 help COMMAND explains its options.  Results go to standard output,\n"
          "messages to standard error.  Exit code: 0 done and held, 1 ran but fell short\n"
          "(a comparison failed), 2 bad input or usage.\n", out);
}

static void print_option(FILE *out, const g4_option *opt, int required)
{
    char left[128];
    int len = snprintf(left, sizeof left, "  %s%s%s%s", g4_option_dashes(opt), opt->name,
                       opt->value ? " " : "", opt->value ? opt->value : "");
    if (len + 2 > OPTION_COLUMN) fprintf(out, "%s\n%*s", left, OPTION_COLUMN, "");
    else fprintf(out, "%-*s", OPTION_COLUMN, left);
    if (required) {
        char text[512];
        snprintf(text, sizeof text, "%s; required", opt->help);
        g4_text_wrap(out, text, OPTION_COLUMN, WIDTH);
    } else {
        g4_text_wrap(out, opt->help, OPTION_COLUMN, WIDTH);
    }
}

void g4_help_command(FILE *out, const g4_command_row *row)
{
    const g4_option *opt;
    fprintf(out, "usage: gemma4 %s ", row->name);
    g4_text_wrap(out, row->usage, (int)strlen(row->name) + 15, WIDTH);
    fputc('\n', out);
    g4_text_wrap(out, row->summary, 0, WIDTH);
    int any = 0;
    for (size_t i = 0; (opt = g4_option_at(i)) != NULL; i++) {
        int takes = g4_command_takes(row, opt->name);
        if (!takes) continue;
        if (!any++) fputc('\n', out);
        print_option(out, opt, takes == 2);
    }
}
