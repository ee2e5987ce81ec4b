/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/csv.h"

#include "ref/base/map.h"
#include "ref/input/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CSV = 64 << 20 };

typedef struct reader {
    const char *path;
    const char *p, *end;
    size_t line;             /* where p stands, from 1 */
    char *field;             /* [file size] the field that is being read */
    size_t len;
    g4_err *err;
} reader;

static g4_status bad(const reader *r, const char *what)
{
    return g4_fail(r->err, G4_EINPUT, "%s: line %zu: %s", r->path, r->line, what);
}

/* The field behind an opening quote, and the closing quote. */
static g4_status quoted(reader *r)
{
    for (;;) {
        if (r->p == r->end) return bad(r, "a quote is not closed");
        if (*r->p == '"') {
            r->p++;
            if (r->p == r->end || *r->p != '"') return G4_OK;
        } else if (*r->p == '\n') {
            r->line++;
        }
        r->field[r->len++] = *r->p++;
    }
}

/* Bytes of the line end at p: 0 none, 1 LF, 2 CR LF. */
static size_t line_end(const reader *r)
{
    if (r->p < r->end && *r->p == '\n') return 1;
    return r->end - r->p >= 2 && r->p[0] == '\r' && r->p[1] == '\n' ? 2 : 0;
}

/* One field; *last: it ends the line. */
static g4_status field(reader *r, int *last)
{
    r->len = 0;
    if (r->p < r->end && *r->p == '"') {
        r->p++;
        G4_TRY(quoted(r));
        if (r->p < r->end && *r->p != ',' && !line_end(r))
            return bad(r, "text behind a closing quote");
    } else {
        while (r->p < r->end && *r->p != ',' && !line_end(r)) {
            if (*r->p == '"') return bad(r, "a quote inside a field that does not begin with one");
            r->field[r->len++] = *r->p++;
        }
    }
    *last = r->p == r->end || *r->p != ',';
    r->p += *last ? line_end(r) : 1;
    return G4_OK;
}

/* One line of `columns` fields into cells. */
static g4_status row(reader *r, const char **cells, size_t columns, g4_arena *arena)
{
    size_t n = 0;
    int last = 0;
    for (; !last; n++) {
        G4_TRY(field(r, &last));
        if (n < columns && !(cells[n] = g4_arena_strndup(arena, r->field, r->len)))
            return g4_nomem(r->err, r->path);
    }
    if (n != columns)
        return g4_fail(r->err, G4_EINPUT, "%s: line %zu: %zu fields, expected %zu", r->path,
                       r->line, n, columns);
    r->line++;
    return G4_OK;
}

/* Fields of the first line. */
static g4_status width(const reader *r, size_t *columns)
{
    reader first = *r;
    int last = 0;
    for (*columns = 0; !last; ++*columns) G4_TRY(field(&first, &last));
    return G4_OK;
}

static g4_status rows(reader *r, g4_csv *csv, const char *data, size_t size, g4_arena *arena)
{
    size_t at = g4_utf8_check(data, size), most = 1;
    if (at < size || memchr(data, 0, size))
        return g4_fail(r->err, G4_EINPUT, "%s: %s", r->path,
                       at < size ? "not valid UTF-8" : "holds a NUL");
    if (!csv->columns) G4_TRY(width(r, &csv->columns));
    for (size_t i = 0; i < size; i++) most += data[i] == '\n';
    if (most > size / csv->columns + 1) most = size / csv->columns + 1;   /* commas, too */
    csv->cells = g4_arena_alloc(arena, most, csv->columns * sizeof *csv->cells);
    if (!csv->cells) return g4_nomem(r->err, r->path);
    while (r->p < r->end)
        G4_TRY(row(r, csv->cells + csv->columns * csv->rows++, csv->columns, arena));
    return G4_OK;
}

g4_status g4_csv_load(g4_csv *csv, const char *path, size_t columns, g4_arena *arena, g4_err *err)
{
    uint8_t *data;
    size_t size;
    *csv = (g4_csv){ .columns = columns };
    G4_TRY(g4_file_read(path, MAX_CSV, &data, &size, err));
    reader r = { .path = path, .p = (char *)data, .end = (char *)data + size, .line = 1,
                 .field = malloc(size + 1), .err = err };
    g4_status s = r.field ? rows(&r, csv, (char *)data, size, arena) : g4_nomem(err, path);
    free(r.field);
    free(data);
    return s;
}
