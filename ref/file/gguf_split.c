/* SPDX-License-Identifier: Apache-2.0
 * A GGUF in parts, as llama-gguf-split and the converters write it [N62]: each part is a GGUF
 * with some of the tensors and three keys that say which part of what it is; the first has
 * all other keys, too, and names the model.
 *
 *   NAME-00001-of-00003.gguf   split.no 0   split.count 3   split.tensors.count (of all)
 *   NAME-00002-of-00003.gguf   split.no 1   ...
 *
 * No part holds a sum of another, so parts of two files can be told apart only where their
 * keys or their tensors' names and number disagree: that much is checked. */
#include "ref/file/gguf_parts.h"

#include <stdio.h>
#include <string.h>

typedef struct place {
    int64_t no, count, tensors;
} place;

static g4_status get(const g4_gguf *g, const char *key, int64_t most, int64_t *v, g4_err *err)
{
    const g4_gguf_key *k = g4_gguf_find(g, key);
    *v = k && !k->is_array && g4_gguf_is_int(k) ? g4_gguf_int(k, 0) : -1;
    if (*v >= 0 && *v <= most) return G4_OK;
    if (!k) return g4_fail(err, G4_EINPUT, "%s: no key %s, as a part of a file has", g->file, key);
    return g4_fail(err, G4_EINPUT, "%s: key %s is no number from 0 to %lld", g->file, key,
                   (long long)most);
}

static g4_status place_of(const g4_gguf *g, place *p, g4_err *err)
{
    G4_TRY(get(g, "split.count", UINT16_MAX, &p->count, err));
    G4_TRY(get(g, "split.no", UINT16_MAX, &p->no, err));
    return get(g, "split.tensors.count", G4_GGUF_MAX_TENSORS, &p->tensors, err);
}

/* Bytes of the NAME of a first part's path. */
static g4_status stem_of(const g4_gguf *g, const place *p, size_t *stem, g4_err *err)
{
    char end[40];
    int n = snprintf(end, sizeof end, "-00001-of-%05d.gguf", (int)p->count);
    size_t len = strlen(g->file);
    if (p->no != 0)
        return g4_fail(err, G4_EINPUT, "%s: is part %d of %d; a model is named by its first part",
                       g->file, (int)p->no + 1, (int)p->count);
    *stem = len - (size_t)n;
    if (len > (size_t)n && strcmp(g->file + *stem, end) == 0) return G4_OK;
    return g4_fail(err, G4_EINPUT, "%s: is the first of %d parts, but its name does not end in %s",
                   g->file, (int)p->count, end);
}

/* What a part has of the first one's keys is to be the same, but for its own number. */
static g4_status check_keys(const g4_gguf *first, const g4_gguf *part, g4_err *err)
{
    for (size_t i = 0; i < part->key_count; i++) {
        const g4_gguf_key *a = &part->keys[i], *b = g4_gguf_find(first, a->name);
        if (!b || strcmp(a->name, "split.no") == 0) continue;
        if (a->type != b->type || a->is_array != b->is_array || a->count != b->count ||
            a->bytes != b->bytes || (a->bytes && memcmp(a->data, b->data, a->bytes) != 0))
            return g4_fail(err, G4_EINPUT, "%s: key %s is not as in %s", part->file, a->name,
                           first->file);
    }
    return G4_OK;
}

static g4_status open_parts(g4_gguf *g, const place *p, size_t stem, size_t *tensors, g4_err *err)
{
    g4_gguf *last = g;
    for (int64_t no = 1; no < p->count; no++) {
        place q;
        char *path = g4_arena_printf(&g->arena, "%.*s-%05d-of-%05d.gguf", (int)stem, g->file,
                                     (int)no + 1, (int)p->count);
        if (!path) return g4_nomem(err, g->file);
        G4_TRY(g4_gguf_open_part(&last->next, path, err));
        last = last->next;
        G4_TRY(place_of(last, &q, err));
        if (q.no != no)
            return g4_fail(err, G4_EINPUT, "%s: is part %d by its keys", path, (int)q.no + 1);
        G4_TRY(check_keys(g, last, err));
        *tensors += last->tensor_count;
    }
    return G4_OK;
}

g4_status g4_gguf_join(g4_gguf *g, int siblings, g4_err *err)
{
    place p;
    size_t stem = 0, n = g->tensor_count;
    if (!g4_gguf_find(g, "split.count")) return G4_OK;
    G4_TRY(get(g, "split.count", UINT16_MAX, &p.count, err));
    if (p.count <= 1) return G4_OK;      /* what is left when parts are merged */
    G4_TRY(place_of(g, &p, err));
    if (!siblings)
        return g4_fail(err, G4_EINPUT, "%s: is one of %d parts", g->file, (int)p.count);
    G4_TRY(stem_of(g, &p, &stem, err));
    G4_TRY(open_parts(g, &p, stem, &n, err));
    if (n != (size_t)p.tensors)
        return g4_fail(err, G4_EINPUT, "%s: %zu tensors in %d parts, and key split.tensors.count "
                       "is %lld", g->file, n, (int)p.count, (long long)p.tensors);
    g4_tensor *all = g4_arena_alloc(&g->arena, n + 1, sizeof *all);
    if (!all) return g4_nomem(err, g->file);
    size_t at = 0;
    for (const g4_gguf *part = g; part; part = part->next) {
        memcpy(all + at, part->tensors, part->tensor_count * sizeof *all);
        at += part->tensor_count;
    }
    g->tensors = all;
    g->tensor_count = n;
    return g4_gguf_sort_tensors(g, err);
}

size_t g4_gguf_parts(const g4_gguf *g)
{
    size_t n = 0;
    for (; g; g = g->next) n++;
    return n;
}

const char *g4_gguf_part(const g4_gguf *g, size_t i)
{
    while (g && i--) g = g->next;
    return g ? g->file : NULL;
}
