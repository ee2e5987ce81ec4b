/* SPDX-License-Identifier: Apache-2.0
 * Text from files and arguments, made safe for a terminal, and numbers for
 * people.  Used by every command that prints names it did not choose. */
#ifndef G4_HARNESS_TEXT_H
#define G4_HARNESS_TEXT_H

#include "ref/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Copies src: control characters (C0, DEL, C1) and bytes that are not UTF-8
 * become \xNN, the rest stays; cut at size.  Returns dst. */
char *g4_text_safe(char *dst, size_t size, const char *src);

/* The same for a name in a table that may be CSV, JSON or Markdown: what would end it there
 * becomes '_'. */
char *g4_text_cell(char *dst, size_t size, const char *src);

/* 23894812672 -> "23.89 GB" (decimal units, as disks and downloads count). */
char *g4_text_bytes(char *dst, size_t size, uint64_t bytes);

/* A file that is text, malloc'ed with a 0 behind it; one that is not UTF-8 is told by name. */
g4_status g4_text_read(const char *path, size_t most, char **text, size_t *size, g4_err *err);

/* Writes text in lines of at most width columns, from column `indent` on; the
 * caller has already filled the first line up to there. */
void g4_text_wrap(FILE *out, const char *text, int indent, int width);

#endif
