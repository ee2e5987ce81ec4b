/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/eval/jsonl.h"

#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_JSONL = 256 << 20, MAX_LINES = 4 << 20 };

static g4_status lines(g4_jsonl *j, const char *data, size_t size, g4_err *err)
{
    size_t most = 1, number = 0, taken = 0;
    for (size_t i = 0; i < size; i++) most += data[i] == '\n';
    if (most > MAX_LINES)
        return g4_fail(err, G4_EINPUT, "%s: more than %d lines", j->file, (int)MAX_LINES);
    if (!(j->lines = g4_arena_alloc(&j->arena, most, sizeof *j->lines)))
        return g4_nomem(err, j->file);
    for (const char *p = data, *end = data + size; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((stop ? stop : end) - p), blank = 0;
        number++;
        while (blank < len && (p[blank] == ' ' || p[blank] == '\t' || p[blank] == '\r')) blank++;
        if (blank < len) {
            const char *name = g4_arena_printf(&j->arena, "%s: line %zu", j->file, number);
            if (!name) return g4_nomem(err, j->file);
            g4_json *line = &j->lines[j->count];
            G4_TRY(g4_json_parse_some(line, name, p, len, &taken, err));
            j->count++;
            if (!json_is_object(line->root))
                return g4_fail(err, G4_EINPUT, "%s: not a JSON object", name);
        }
        p += len + 1;
    }
    return G4_OK;
}

g4_status g4_jsonl_load(g4_jsonl *j, const char *path, g4_err *err)
{
    uint8_t *data;
    size_t size;
    *j = (g4_jsonl){ .file = path };
    G4_TRY(g4_file_read(path, MAX_JSONL, &data, &size, err));
    g4_status s = lines(j, (char *)data, size, err);
    free(data);
    return s;
}

void g4_jsonl_free(g4_jsonl *j)
{
    for (size_t i = 0; i < j->count; i++) g4_json_free(&j->lines[i]);
    g4_arena_free(&j->arena);
    *j = (g4_jsonl){ 0 };
}

static int kind_by_name(const char *name)
{
    static const struct { const char *name; int kind; } kinds[] = {
        { "image", G4_IMAGE }, { "video", G4_VIDEO }, { "audio", G4_AUDIO },
    };
    for (size_t i = 0; name && i < 3; i++)
        if (strcmp(kinds[i].name, name) == 0) return kinds[i].kind;
    return -1;
}

g4_status g4_jsonl_media(const g4_json *line, const char *prefix, const g4_media **media,
                         size_t *count, g4_arena *a, g4_err *err)
{
    g4_json array;
    json_t *v;
    size_t i;
    G4_TRY(g4_json_array(line, "media", 0, &array, err));
    g4_media *list = g4_arena_alloc(a, json_array_size(array.root) + 1, sizeof *list);
    if (!list) return g4_nomem(err, line->file);
    json_array_foreach(array.root, i, v) {
        const char *kind = json_string_value(json_array_get(v, 0));
        const char *file = json_string_value(json_array_get(v, 1));
        if (json_array_size(v) != 2 || kind_by_name(kind) < 0 || !file)
            return g4_fail(err, G4_EINPUT, "%s: media %zu is not [\"image\", \"audio\" or "
                           "\"video\", a file]", line->file, i + 1);
        list[i].kind = kind_by_name(kind);
        if (!(list[i].path = g4_arena_printf(a, "%s%s", prefix, file)))
            return g4_nomem(err, line->file);
    }
    *media = list;
    *count = json_array_size(array.root);
    return G4_OK;
}
