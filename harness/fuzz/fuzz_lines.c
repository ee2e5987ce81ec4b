/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: one byte that says how many columns there are, then bytes as a CSV
 * file and as a file of one JSON object a line. */
#include "harness/eval/csv.h"
#include "harness/eval/jsonl.h"
#include "harness/fuzz/folder.h"
#include "ref/input/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void refused(const g4_err *err, const char *path)
{
    require(strncmp(err->msg, path, strlen(path)) == 0);
    for (const char *p = err->msg; *p; p++) require((unsigned char)*p >= 32 && *p != 127);
}

/* Cells are UTF-8, and all of them together no longer than the file. */
static void read_csv(const char *path, size_t columns, size_t size)
{
    g4_csv csv;
    g4_arena arena = { NULL };
    g4_err err = { G4_OK, "" };
    if (g4_csv_load(&csv, path, columns, &arena, &err) == G4_OK) {
        size_t bytes = 0;
        require(csv.columns == columns && csv.rows <= size);
        for (size_t i = 0; i < csv.rows * columns; i++) {
            size_t n = strlen(csv.cells[i]);
            require(g4_utf8_check(csv.cells[i], n) == n);
            bytes += n;
        }
        require(bytes <= size);
    } else {
        refused(&err, path);
    }
    g4_arena_free(&arena);
}

static void read_jsonl(const char *path, size_t size)
{
    g4_jsonl j;
    g4_err err = { G4_OK, "" };
    if (g4_jsonl_load(&j, path, &err) == G4_OK) {
        require(j.count <= size / 2);   /* "{}" at least */
        for (size_t i = 0; i < j.count; i++) require(json_is_object(j.lines[i].root));
    } else {
        refused(&err, path);
    }
    g4_jsonl_free(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[4096];
    if (size < 1) return 0;
    snprintf(path, sizeof path, "%s/lines", fuzz_folder());
    fuzz_file("lines", data + 1, size - 1);
    read_csv(path, 1 + data[0] % 8, size - 1);
    read_jsonl(path, size - 1);
    return 0;
}
