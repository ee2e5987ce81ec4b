/* SPDX-License-Identifier: Apache-2.0
 * Root attributes of a golden file, as text.  Those that decide how the rest
 * is read are checked here; others are kept for whoever asks for them. */
#include "golden/h5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ATTRS = 256, MAX_TEXT = 1 << 20 };

static g4_status attr_add(g4_h5_file *h, const char *name, const char *text, int is_number,
                          g4_err *err)
{
    g4_golden_attr *a = &h->attrs[h->attr_count];
    a->name = g4_arena_strndup(&h->arena, name, strlen(name));
    a->text = g4_arena_strndup(&h->arena, text, strlen(text));
    a->is_number = is_number;
    if (!a->name || !a->text) return g4_nomem(err, h->path);
    h->attr_count++;
    return G4_OK;
}

/* Strings of fixed or variable length; the latter come from libhdf5's heap. */
static g4_status attr_string(g4_h5_file *h, hid_t attr, hid_t type, const char *name,
                             g4_err *err)
{
    char *text = NULL;
    g4_status s;
    hid_t mem = H5Tcopy(H5T_C_S1);
    int vlen = H5Tis_variable_str(type) > 0;
    size_t size = vlen ? H5T_VARIABLE : H5Tget_size(type) + 1;
    if (mem < 0 || (!vlen && size > MAX_TEXT) || H5Tset_size(mem, size) < 0 ||
        H5Tset_cset(mem, H5Tget_cset(type)) < 0) {
        s = g4_fail(err, G4_EINPUT, "%s: attribute '%s' has an unreadable string type", h->path,
                    name);
    } else if (!vlen && !(text = calloc(size, 1))) {
        s = g4_nomem(err, h->path);
    } else if (H5Aread(attr, mem, vlen ? (void *)&text : (void *)text) < 0) {
        s = g4_h5_fail(err, G4_EINPUT, h->path, "cannot read an attribute");
    } else if (text && strnlen(text, MAX_TEXT) == MAX_TEXT) {
        s = g4_fail(err, G4_EINPUT, "%s: attribute '%s' is over 1 MiB long", h->path, name);
    } else {
        s = attr_add(h, name, text ? text : "", 0, err);
    }
    if (vlen && text) H5free_memory(text);
    if (!vlen) free(text);
    if (mem >= 0) H5Tclose(mem);
    return s;
}

static g4_status attr_read(g4_h5_file *h, hid_t attr, const char *name, g4_err *err)
{
    char text[40];
    int64_t i;
    double d;
    hid_t space = H5Aget_space(attr), type = H5Aget_type(attr);
    g4_status s = G4_OK;
    if (space < 0 || type < 0)
        s = g4_h5_fail(err, G4_EINPUT, h->path, "cannot open an attribute");
    else if (H5Sget_simple_extent_type(space) == H5S_NULL ||
             H5Sget_simple_extent_npoints(space) != 1)
        ;   /* not one value: nothing of ours, so of no concern */
    else if (H5Tget_class(type) == H5T_STRING)
        s = attr_string(h, attr, type, name, err);
    else if (H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) <= 8) {
        if (H5Aread(attr, H5T_NATIVE_INT64, &i) < 0)
            s = g4_h5_fail(err, G4_EINPUT, h->path, "cannot read an attribute");
        else {
            snprintf(text, sizeof text, "%lld", (long long)i);
            s = attr_add(h, name, text, 1, err);
        }
    } else if (H5Tget_class(type) == H5T_FLOAT && H5Tget_size(type) <= 8) {
        if (H5Aread(attr, H5T_NATIVE_DOUBLE, &d) < 0)
            s = g4_h5_fail(err, G4_EINPUT, h->path, "cannot read an attribute");
        else {
            snprintf(text, sizeof text, "%.17g", d);
            s = attr_add(h, name, text, 1, err);
        }
    }
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return s;
}

typedef struct attr_walk {
    g4_h5_file *h;
    g4_err *err;
    g4_status s;
} attr_walk;

static herr_t attr_visit(hid_t root, const char *name, const H5A_info_t *info, void *ctx)
{
    attr_walk *w = ctx;
    (void)info;
    if (w->h->attr_count == MAX_ATTRS) {
        w->s = g4_fail(w->err, G4_EINPUT, "%s: over %d attributes", w->h->path, MAX_ATTRS);
        return 1;
    }
    hid_t attr = H5Aopen(root, name, H5P_DEFAULT);
    if (attr < 0) {
        w->s = g4_h5_fail(w->err, G4_EINPUT, w->h->path, "cannot open an attribute");
        return 1;
    }
    w->s = attr_read(w->h, attr, name, w->err);
    H5Aclose(attr);
    return w->s != G4_OK;
}

static const g4_golden_attr *attr_find(const g4_h5_file *h, const char *name)
{
    for (size_t i = 0; i < h->attr_count; i++)
        if (strcmp(h->attrs[i].name, name) == 0) return &h->attrs[i];
    return NULL;
}

/* The attribute must be there, of that kind, and one of the choices a|b|c. */
static g4_status attr_choice(const g4_h5_file *h, const char *name, int is_number,
                             const char *choices, g4_err *err)
{
    const g4_golden_attr *a = attr_find(h, name);
    if (!a) return g4_fail(err, G4_EINPUT, "%s: no attribute '%s'", h->path, name);
    if (a->is_number != is_number)
        return g4_fail(err, G4_EINPUT, "%s: attribute '%s' is not a %s", h->path, name,
                       is_number ? "number" : "string");
    size_t n = strlen(a->text);
    for (const char *c = choices; n > 0 && *c;) {
        size_t len = strcspn(c, "|");
        if (len == n && memcmp(c, a->text, n) == 0) return G4_OK;
        c += len + (c[len] == '|');
    }
    return g4_fail(err, G4_EINPUT, "%s: attribute '%s' is '%.60s', not %s", h->path, name, a->text,
                   choices);
}

g4_status g4_h5_attrs(g4_h5_file *h, g4_err *err)
{
    hsize_t at = 0;
    attr_walk w = {h, err, G4_OK};
    h->attrs = g4_arena_alloc(&h->arena, MAX_ATTRS, sizeof *h->attrs);
    if (!h->attrs) return g4_nomem(err, h->path);
    herr_t r = H5Aiterate2(h->file, H5_INDEX_NAME, H5_ITER_INC, &at, attr_visit, &w);
    if (w.s != G4_OK) return w.s;
    if (r < 0) return g4_h5_fail(err, G4_EINPUT, h->path, "cannot list the attributes");
    G4_TRY(attr_choice(h, "format", 0, "gemma4-golden", err));
    G4_TRY(attr_choice(h, "format_version", 1, "1", err));
    G4_TRY(attr_choice(h, "dtype", 0, "float32|float64", err));
    if (attr_find(h, "mask"))
        G4_TRY(attr_choice(h, "mask", 0, "official|hf-helper|hf-forward|causal", err));
    h->real = strcmp(attr_find(h, "dtype")->text, "float64") == 0 ? G4_GOLDEN_F64 : G4_GOLDEN_F32;
    return G4_OK;
}
