/* SPDX-License-Identifier: Apache-2.0
 * Writing golden files.  Chunks are runs of whole rows of about CHUNK bytes,
 * shuffled and deflated; tiny datasets are plain.  Each open dataset's cache
 * holds one chunk, so that rows which come one by one are packed once; a
 * dataset is closed with its last row.  No times are stored: the same values
 * give the same file. */
#include "golden/h5.h"
#include "golden/schema.h"
#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 128 << 10, TINY = 1024, LEVEL = 1 };   /* bytes, bytes, deflate */

typedef struct out_set {
    g4_golden_set set;
    hid_t data;          /* -1: complete and closed */
    int64_t missing;     /* rows not given yet */
} out_set;

struct g4_golden_writer {
    g4_out out;          /* owns path and temporary name */
    hid_t file;
    out_set *sets;
    size_t count, room, last;   /* last: where the previous look-up ended */
    void *scratch;              /* heads-first rows, turned */
    size_t scratch_bytes;
};

static g4_status fail(const g4_golden_writer *w, const char *what, g4_err *err)
{
    return g4_h5_fail(err, G4_EIO, w->out.path, what);
}

g4_status g4_golden_create(g4_golden_writer **out, const char *path, g4_err *err)
{
    *out = NULL;
    g4_golden_writer *w = calloc(1, sizeof *w);
    if (!w) return g4_nomem(err, path);
    w->file = -1;
    g4_status s = g4_out_open(&w->out, path, err);
    if (s != G4_OK) {
        free(w);
        return s;
    }
    g4_h5_start();
    hid_t fapl = g4_h5_access();
    if (fapl >= 0) {
        w->file = H5Fcreate(w->out.temp, H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
        H5Pclose(fapl);
    }
    s = w->file < 0 ? fail(w, "cannot create it as HDF5", err) :
        g4_golden_put_text(w, "format", "gemma4-golden", err);
    if (s == G4_OK) s = g4_golden_put_int(w, "format_version", 1, err);
    if (s != G4_OK) {
        g4_golden_abort(w);
        return s;
    }
    *out = w;
    return G4_OK;
}

static g4_status put_attr(g4_golden_writer *w, const char *name, hid_t file_type, hid_t type,
                          const void *value, g4_err *err)
{
    hid_t space = H5Screate(H5S_SCALAR), attr = -1;
    if (space >= 0 && H5Aexists(w->file, name) > 0) H5Adelete(w->file, name);
    if (space >= 0 && file_type >= 0)
        attr = H5Acreate2(w->file, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    int ok = attr >= 0 && H5Awrite(attr, type, value) >= 0;
    if (attr >= 0 && H5Aclose(attr) < 0) ok = 0;
    if (space >= 0) H5Sclose(space);
    return ok ? G4_OK : fail(w, "cannot write an attribute", err);
}

/* Variable length and UTF-8, which h5py reads as str. */
g4_status g4_golden_put_text(g4_golden_writer *w, const char *name, const char *text, g4_err *err)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 &&
        (H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        type = -1;
    }
    g4_status s = put_attr(w, name, type, type, &text, err);
    if (type >= 0) H5Tclose(type);
    return s;
}

g4_status g4_golden_put_int(g4_golden_writer *w, const char *name, int64_t value, g4_err *err)
{
    int small = value >= INT32_MIN && value <= INT32_MAX;
    return put_attr(w, name, small ? H5T_STD_I32LE : H5T_STD_I64LE, H5T_NATIVE_INT64, &value, err);
}

/* Chunks: all of the columns, as many rows as fit in CHUNK bytes (at least 1).
 * heads_first has its rows in the second dimension. */
static int set_chunks(hid_t dcpl, hid_t dapl, const g4_golden_set *s)
{
    hsize_t chunk[G4_GOLDEN_RANK];
    uint64_t size = g4_golden_size(s->type), bytes = (uint64_t)g4_golden_values(s) * size;
    int row_dim = s->heads_first ? 1 : s->row_dims > 1 ? s->row_dims - 1 : 0;
    if (bytes <= TINY) return 1;
    uint64_t one = bytes / (uint64_t)s->dims[row_dim];   /* one step of row_dim */
    for (int i = 0; i < s->rank; i++) chunk[i] = (hsize_t)s->dims[i];
    for (int i = 0; i < row_dim && !s->heads_first; i++) {
        one /= (uint64_t)s->dims[i];
        chunk[i] = 1;
    }
    uint64_t rows = one < CHUNK ? CHUNK / one : 1;
    if (rows < chunk[row_dim]) chunk[row_dim] = rows;
    for (int i = 0; i < s->rank; i++) size *= chunk[i];
    /* libhdf5 has 32-bit chunk sizes; such a row is left unpacked */
    if (size > (1u << 30)) return 1;
    return H5Pset_chunk(dcpl, s->rank, chunk) >= 0 && H5Pset_shuffle(dcpl) >= 0 &&
           H5Pset_deflate(dcpl, LEVEL) >= 0 &&
           H5Pset_chunk_cache(dapl, 1, (size_t)size, H5D_CHUNK_CACHE_W0_DEFAULT) >= 0;
}

static hid_t set_create(g4_golden_writer *w, const g4_golden_set *s)
{
    hsize_t dims[G4_GOLDEN_RANK];
    hid_t lcpl = H5Pcreate(H5P_LINK_CREATE), dcpl = H5Pcreate(H5P_DATASET_CREATE);
    hid_t dapl = H5Pcreate(H5P_DATASET_ACCESS), data = -1;
    for (int i = 0; i < s->rank; i++) dims[i] = (hsize_t)s->dims[i];
    hid_t space = s->rank ? H5Screate_simple(s->rank, dims, NULL) : H5Screate(H5S_SCALAR);
    if (lcpl >= 0 && dcpl >= 0 && dapl >= 0 && space >= 0 &&
        H5Pset_create_intermediate_group(lcpl, 1) >= 0 && H5Pset_obj_track_times(dcpl, 0) >= 0 &&
        set_chunks(dcpl, dapl, s))
        data = H5Dcreate2(w->file, s->path, g4_h5_file_type(s->type), space, lcpl, dcpl, dapl);
    if (lcpl >= 0) H5Pclose(lcpl);
    if (dcpl >= 0) H5Pclose(dcpl);
    if (dapl >= 0) H5Pclose(dapl);
    if (space >= 0) H5Sclose(space);
    return data;
}

/* Taps come round in the same order each time: look where the last one was. */
int g4_golden_declared(const g4_golden_writer *w, const char *path)
{
    for (size_t i = 0; i < w->count; i++) {
        size_t at = (w->last + i) % w->count;
        if (strcmp(w->sets[at].set.path, path) == 0) return (int)at;
    }
    return -1;
}

static g4_status declare_again(g4_golden_writer *w, const g4_golden_set *s, int id, g4_err *err)
{
    const g4_golden_set *old = &w->sets[id].set;
    if (old->type != s->type || old->rank != s->rank ||
        memcmp(old->dims, s->dims, sizeof s->dims) != 0)
        return g4_fail(err, G4_EINPUT, "%s: %s: declared with two shapes", w->out.path, s->path);
    return G4_OK;
}

g4_status g4_golden_declare(g4_golden_writer *w, const char *path, g4_golden_type type, int rank,
                            const int64_t *dims, int *id, g4_err *err)
{
    g4_schema_rule rule;
    g4_golden_set s = {.type = type, .rank = rank, .row_dims = rank > 0};
    if (strlen(path) >= sizeof s.path || rank < 0 || rank > G4_GOLDEN_RANK)
        return g4_fail(err, G4_EINPUT, "%s: %s: cannot be written", w->out.path, path);
    memcpy(s.path, path, strlen(path));
    for (int i = 0; i < rank; i++) s.dims[i] = dims[i];
    if (g4_schema_find(path, &rule)) {
        g4_schema_apply(&rule, &s);
        int real = type == G4_GOLDEN_F32 || type == G4_GOLDEN_F64;
        if (rank != rule.rank || !(type == rule.type || (rule.any_real && real)))
            return g4_fail(err, G4_EINPUT, "%s: %s: not of the format's type and rank",
                           w->out.path, path);
    }
    if (!g4_golden_set_sane(&s))
        return g4_fail(err, G4_EINPUT, "%s: %s: has a dimension of 0 or too many values",
                       w->out.path, path);
    *id = g4_golden_declared(w, path);
    if (*id >= 0) return declare_again(w, &s, *id, err);
    if (w->count == w->room) {
        size_t room = w->room ? w->room * 2 : 64;
        out_set *more = realloc(w->sets, room * sizeof *more);
        if (!more) return g4_nomem(err, w->out.path);
        w->sets = more;
        w->room = room;
    }
    hid_t data = set_create(w, &s);
    if (data < 0) return fail(w, path, err);
    w->sets[w->count] = (out_set){s, data, g4_golden_rows(&s)};
    *id = (int)w->count++;
    return G4_OK;
}

/* [rows][K][H] -> [K][rows][H] in the scratch buffer. */
static const void *turn(g4_golden_writer *w, const g4_golden_set *s, int64_t rows,
                        const void *data)
{
    size_t heads = (size_t)s->dims[0], n = (size_t)rows;
    size_t width = (size_t)s->dims[2] * g4_golden_size(s->type), bytes = heads * n * width;
    if (bytes > w->scratch_bytes) {
        void *more = realloc(w->scratch, bytes);
        if (!more) return NULL;
        w->scratch = more;
        w->scratch_bytes = bytes;
    }
    const unsigned char *in = data;
    unsigned char *out = w->scratch;
    for (size_t k = 0; k < heads; k++)
        for (size_t t = 0; t < n; t++)
            memcpy(out + (k * n + t) * width, in + (t * heads + k) * width, width);
    return out;
}

/* One box of the dataset; data is packed. */
static int put_box(hid_t data, const g4_golden_set *s, const hsize_t *start, const hsize_t *count,
                   const void *values)
{
    hid_t mem = g4_h5_memory_type(s->type);
    if (s->rank == 0) return H5Dwrite(data, mem, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    hid_t file = H5Dget_space(data), block = H5Screate_simple(s->rank, count, NULL);
    int ok = file >= 0 && block >= 0 &&
             H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
             H5Dwrite(data, mem, block, file, H5P_DEFAULT, values) >= 0;
    if (file >= 0) H5Sclose(file);
    if (block >= 0) H5Sclose(block);
    return ok;
}

/* Rows counted over two dims lie in boxes of one outer index each. */
static int put_rows(hid_t data, const g4_golden_set *s, int64_t row, int64_t rows,
                    const unsigned char *values)
{
    hsize_t start[G4_GOLDEN_RANK] = {0}, count[G4_GOLDEN_RANK] = {0};
    size_t row_bytes = (size_t)g4_golden_cols(s) * g4_golden_size(s->type);
    for (int i = 0; i < s->rank; i++) count[i] = (hsize_t)s->dims[i];
    if (s->row_dims == 2) {
        int64_t inner = s->dims[1];
        for (int64_t n; rows > 0; row += n, rows -= n) {
            start[0] = (hsize_t)(row / inner);
            start[1] = (hsize_t)(row % inner);
            n = inner - row % inner < rows ? inner - row % inner : rows;
            count[0] = 1;
            count[1] = (hsize_t)n;
            if (!put_box(data, s, start, count, values)) return 0;
            values += (size_t)n * row_bytes;
        }
        return 1;
    }
    if (s->row_dims == 1) {
        int dim = s->heads_first ? 1 : 0;
        start[dim] = (hsize_t)row;
        count[dim] = (hsize_t)rows;
    }
    return put_box(data, s, start, count, values);
}

g4_status g4_golden_put(g4_golden_writer *w, int id, int64_t row, int64_t rows, const void *data,
                        g4_err *err)
{
    out_set *o = &w->sets[id];
    const g4_golden_set *s = &o->set;
    int64_t all = g4_golden_rows(s);
    w->last = (size_t)id;
    if (row < 0 || rows < 1 || row > all || rows > all - row || rows > o->missing)
        return g4_fail(err, G4_EINPUT, "%s: %s: rows %lld+%lld do not fit its %lld", w->out.path,
                       s->path, (long long)row, (long long)rows, (long long)all);
    if (s->heads_first) data = turn(w, s, rows, data);
    if (!data) return g4_nomem(err, w->out.path);
    if (!put_rows(o->data, s, row, rows, data)) return fail(w, s->path, err);
    o->missing -= rows;
    if (o->missing > 0) return G4_OK;
    hid_t done = o->data;
    o->data = -1;
    return H5Dclose(done) < 0 ? fail(w, s->path, err) : G4_OK;
}

g4_status g4_golden_write(g4_golden_writer *w, const char *path, g4_golden_type type, int rank,
                          const int64_t *dims, const void *data, g4_err *err)
{
    int id;
    G4_TRY(g4_golden_declare(w, path, type, rank, dims, &id, err));
    return g4_golden_put(w, id, 0, g4_golden_rows(&w->sets[id].set), data, err);
}

static g4_status finish(g4_golden_writer *w, g4_err *err)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->sets[i].missing > 0)
            return g4_fail(err, G4_EINPUT, "%s: %s: %lld rows were never written", w->out.path,
                           w->sets[i].set.path, (long long)w->sets[i].missing);
    hid_t file = w->file;
    w->file = -1;
    if (H5Fclose(file) < 0) return fail(w, "cannot write it", err);
    return g4_out_commit(&w->out, err);
}

g4_status g4_golden_commit(g4_golden_writer *w, g4_err *err)
{
    g4_status s = finish(w, err);
    g4_golden_abort(w);
    return s;
}

void g4_golden_abort(g4_golden_writer *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->count; i++)
        if (w->sets[i].data >= 0) H5Dclose(w->sets[i].data);
    if (w->file >= 0) H5Fclose(w->file);
    H5Eclear2(H5E_DEFAULT);
    g4_out_abort(&w->out);
    free(w->scratch);
    free(w->sets);
    free(w);
}
