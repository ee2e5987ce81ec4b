/* SPDX-License-Identifier: Apache-2.0
 * The reader proper.  Order of checks on a dataset: the kind of every link on
 * the way, then creation properties (layout, external files, filters), then
 * type, rank and dims, then bytes against what the file can back, and only
 * then H5Dread. */
#include "golden/h5.h"
#include "golden/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Deflate cannot shrink below 1 : 1032; rounded up for block headers. */
enum { INFLATE_MAX = 1100 };
enum { MAX_CHUNK = 256 << 20, BLOCK = 8 << 20 };
enum { MAX_FILTERS = 4 };

/* Follows path part by part; every part must be a hard link.  *yes 0: absent. */
static g4_status link_check(g4_h5_file *h, const char *path, int *yes, g4_err *err)
{
    char part[G4_GOLDEN_PATH];
    size_t len = strlen(path);
    *yes = 0;
    for (size_t i = 1; i <= len; i++) {
        H5L_info_t info;
        if (i < len && path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = 0;
        htri_t there = H5Lexists(h->file, part, h->links);
        if (there == 0) return G4_OK;
        if (there < 0 || H5Lget_info(h->file, part, &info, h->links) < 0)
            return g4_fail(err, G4_EINPUT, "%s: %s: cannot be looked up", h->path, part);
        if (info.type != H5L_TYPE_HARD)
            return g4_fail(err, G4_EINPUT, "%s: %s: is a%s link, which is refused", h->path, part,
                           info.type == H5L_TYPE_EXTERNAL ? "n external" :
                           info.type == H5L_TYPE_SOFT ? " soft" : " user-defined");
    }
    *yes = 1;
    return G4_OK;
}

static g4_status group_check(void *ctx, const char *path, int *yes, g4_err *err)
{
    return link_check(ctx, path, yes, err);
}

/* Where the values lie and how they are packed. */
typedef struct storage {
    uint64_t chunk;   /* bytes of a chunk; 0: not chunked */
    int deflates;
} storage;

/* Fills st; what is wrong with the dataset, or NULL. */
static const char *storage_fault(hid_t dcpl, size_t size, storage *st)
{
    hsize_t dims[H5S_MAX_RANK];
    H5D_layout_t layout = H5Pget_layout(dcpl);
    int filters = H5Pget_nfilters(dcpl);
    *st = (storage){0, 0};
    if (layout == H5D_VIRTUAL) return "is a virtual dataset, which is refused";
    if (H5Pget_external_count(dcpl) != 0) return "has external storage, which is refused";
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        return "has an unknown layout";
    if (filters < 0 || filters > MAX_FILTERS) return "has too many filters";
    for (int i = 0; i < filters; i++) {
        unsigned flags, config, values[8];
        size_t count = 8;
        H5Z_filter_t f = H5Pget_filter2(dcpl, (unsigned)i, &flags, &count, values, 0, NULL,
                                        &config);
        if (f != H5Z_FILTER_DEFLATE && f != H5Z_FILTER_SHUFFLE && f != H5Z_FILTER_FLETCHER32)
            return "has a filter other than deflate, shuffle and fletcher32";
        st->deflates += f == H5Z_FILTER_DEFLATE;
    }
    if (st->deflates > 1) return "is deflated twice";
    if (layout != H5D_CHUNKED) return NULL;
    int rank = H5Pget_chunk(dcpl, H5S_MAX_RANK, dims);
    if (rank < 1) return "has unreadable chunks";
    st->chunk = size;
    for (int i = 0; i < rank; i++)
        if (dims[i] == 0 || __builtin_mul_overflow(st->chunk, dims[i], &st->chunk) ||
            st->chunk > MAX_CHUNK)
            return "has chunks of over 256 MiB";
    return NULL;
}

/* Type, rank and dims against the rule. */
static g4_status shape_check(g4_h5_file *h, hid_t data, g4_golden_set *s,
                             const g4_schema_rule *rule, g4_err *err)
{
    hsize_t dims[H5S_MAX_RANK] = {0};
    hid_t type = H5Dget_type(data), space = H5Dget_space(data);
    int is_type = type >= 0 && H5Tequal(type, g4_h5_file_type(s->type)) > 0;
    H5S_class_t kind = space < 0 ? H5S_NO_CLASS : H5Sget_simple_extent_type(space);
    s->rank = kind == H5S_SCALAR ? 0 : kind == H5S_SIMPLE ?
              H5Sget_simple_extent_dims(space, dims, NULL) : -1;
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (!is_type)
        return g4_fail(err, G4_EINPUT, "%s: %s: is not %s", h->path, s->path,
                       g4_golden_type_name(s->type));
    if (s->rank != rule->rank)
        return g4_fail(err, G4_EINPUT, "%s: %s: has rank %d, not %d", h->path, s->path, s->rank,
                       rule->rank);
    for (int i = 0; i < s->rank; i++) s->dims[i] = dims[i] > INT64_MAX ? -1 : (int64_t)dims[i];
    if (!g4_golden_set_sane(s))
        return g4_fail(err, G4_EINPUT, "%s: %s: has a dimension of 0 or too many values", h->path,
                       s->path);
    return G4_OK;
}

/* Bytes of values against the bytes that the file can back. */
static g4_status size_check(g4_h5_file *h, hid_t data, const g4_golden_set *s,
                            const storage *st, g4_err *err)
{
    uint64_t bytes = (uint64_t)g4_golden_values(s) * g4_golden_size(s->type);
    uint64_t stored = H5Dget_storage_size(data), most;
    if (stored > h->bytes) stored = h->bytes;
    if (__builtin_mul_overflow(stored, (uint64_t)(st->deflates ? INFLATE_MAX : 1), &most))
        most = UINT64_MAX;
    if (bytes > most || __builtin_add_overflow(h->promised, bytes, &h->promised) ||
        h->promised / INFLATE_MAX > h->bytes)
        return g4_fail(err, G4_EINPUT, "%s: %s: claims %llu bytes where the file stores %llu",
                       h->path, s->path, (unsigned long long)bytes, (unsigned long long)stored);
    /* A chunk may reach past the edge, but not be a bomb for a few values. */
    if (st->chunk > (1u << 20) && st->chunk / 4 > bytes)
        return g4_fail(err, G4_EINPUT, "%s: %s: has chunks of %llu bytes for %llu bytes of values",
                       h->path, s->path, (unsigned long long)st->chunk,
                       (unsigned long long)bytes);
    return G4_OK;
}

static g4_status set_check(g4_h5_file *h, hid_t data, g4_golden_set *s,
                           const g4_schema_rule *rule, g4_err *err)
{
    storage st;
    hid_t dcpl = H5Dget_create_plist(data);
    if (dcpl < 0) return g4_h5_fail(err, G4_EINPUT, h->path, s->path);
    const char *fault = storage_fault(dcpl, g4_golden_size(s->type), &st);
    H5Pclose(dcpl);
    if (fault) return g4_fail(err, G4_EINPUT, "%s: %s: %s", h->path, s->path, fault);
    G4_TRY(shape_check(h, data, s, rule, err));
    return size_check(h, data, s, &st, err);
}

static hid_t set_open(g4_h5_file *h, const char *path)
{
    hid_t dapl = H5Pcreate(H5P_DATASET_ACCESS);
    if (dapl < 0) return dapl;
    hid_t data = H5Dopen2(h->file, path, dapl);
    H5Pclose(dapl);
    return data;
}

static g4_status set_visit(void *ctx, const char *path, const g4_schema_rule *rule, g4_err *err)
{
    g4_h5_file *h = ctx;
    int yes;
    G4_TRY(link_check(h, path, &yes, err));
    if (!yes) return G4_OK;
    if (h->set_count == h->set_room) {
        size_t room = h->set_room ? h->set_room * 2 : 64;
        g4_golden_set *more = realloc(h->sets, room * sizeof *more);
        if (!more) return g4_nomem(err, h->path);
        h->sets = more;
        h->set_room = room;
    }
    g4_golden_set *s = &h->sets[h->set_count];
    memset(s, 0, sizeof *s);
    snprintf(s->path, sizeof s->path, "%s", path);
    s->type = rule->any_real ? h->real : rule->type;
    g4_schema_apply(rule, s);
    hid_t data = set_open(h, path);
    if (data < 0) return g4_fail(err, G4_EINPUT, "%s: %s: is not a dataset", h->path, path);
    g4_status st = set_check(h, data, s, rule, err);
    H5Dclose(data);
    G4_TRY(st);
    h->set_count++;
    return G4_OK;
}

/* ---- open, read, close ---- */

static herr_t refuse_link(const char *parent, const char *group, const char *file,
                          const char *object, unsigned *flags, hid_t fapl, void *ctx)
{
    (void)parent, (void)group, (void)file, (void)object, (void)flags, (void)fapl, (void)ctx;
    return -1;
}

g4_status g4_h5_open(g4_h5_file *h, const char *path, g4_err *err)
{
    struct stat st;
    memset(h, 0, sizeof *h);
    h->path = path;
    h->file = h->links = -1;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return g4_fail(err, G4_EINPUT, "%s: not a regular file", path);
    h->bytes = (uint64_t)st.st_size;
    g4_h5_start();
    hid_t fapl = g4_h5_access();
    if (fapl < 0) return g4_h5_fail(err, G4_ENOMEM, path, "cannot prepare libhdf5");
    h->links = H5Pcreate(H5P_LINK_ACCESS);
    if (h->links >= 0 && H5Pset_elink_cb(h->links, refuse_link, NULL) >= 0)
        h->file = H5Fopen(path, H5F_ACC_RDONLY, fapl);
    H5Pclose(fapl);
    if (h->file < 0) return g4_h5_fail(err, G4_EINPUT, path, "not readable as HDF5");
    return G4_OK;
}

g4_status g4_h5_list(g4_h5_file *h, g4_err *err)
{
    g4_schema_visitor v = {h, group_check, set_visit};
    G4_TRY(g4_h5_attrs(h, err));
    return g4_schema_walk(&v, err);
}

void g4_h5_close(g4_h5_file *h)
{
    if (h->file >= 0) H5Fclose(h->file);
    if (h->links >= 0) H5Pclose(h->links);
    H5Eclear2(H5E_DEFAULT);
    free(h->sets);
    g4_arena_free(&h->arena);
    memset(h, 0, sizeof *h);
    h->file = h->links = -1;
}

/* Rows of dims[0] read at once: about BLOCK bytes, and whole chunks, so that
 * each chunk is inflated once. */
static hsize_t rows_at_once(hid_t data, const g4_golden_set *s, uint64_t row_bytes)
{
    hsize_t dims[H5S_MAX_RANK], rows = BLOCK / row_bytes, chunk = 1;
    hid_t dcpl = H5Dget_create_plist(data);
    if (dcpl >= 0 && H5Pget_layout(dcpl) == H5D_CHUNKED &&
        H5Pget_chunk(dcpl, H5S_MAX_RANK, dims) > 0)
        chunk = dims[0];
    if (dcpl >= 0) H5Pclose(dcpl);
    rows = rows < chunk ? chunk : rows / chunk * chunk;
    return rows < (hsize_t)s->dims[0] ? rows : (hsize_t)s->dims[0];
}

static g4_status read_rows(g4_h5_file *h, hid_t data, const g4_golden_set *s, g4_h5_put *put,
                           void *ctx, g4_err *err)
{
    hid_t mem = g4_h5_memory_type(s->type);
    if (s->rank == 0) {
        double one;   /* room for any of the types */
        if (H5Dread(data, mem, H5S_ALL, H5S_ALL, H5P_DEFAULT, &one) < 0)
            return g4_h5_fail(err, G4_EINPUT, h->path, s->path);
        return put(ctx, &one, g4_golden_size(s->type), err);
    }
    hsize_t start[G4_GOLDEN_RANK] = {0}, count[G4_GOLDEN_RANK], total = (hsize_t)s->dims[0];
    uint64_t row_bytes = (uint64_t)(g4_golden_values(s) / s->dims[0]) * g4_golden_size(s->type);
    hsize_t step = rows_at_once(data, s, row_bytes);
    for (int i = 0; i < s->rank; i++) count[i] = (hsize_t)s->dims[i];
    void *buf = malloc((size_t)(step * row_bytes));   /* <= the dataset, whose bytes fit */
    hid_t file = H5Dget_space(data);
    g4_status st = !buf || file < 0 ? g4_nomem(err, h->path) : G4_OK;
    for (hsize_t row = 0; st == G4_OK && row < total; row += count[0]) {
        start[0] = row;
        count[0] = total - row < step ? total - row : step;
        hid_t block = H5Screate_simple(s->rank, count, NULL);
        if (block < 0 ||
            H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
            H5Dread(data, mem, block, file, H5P_DEFAULT, buf) < 0)
            st = g4_h5_fail(err, G4_EINPUT, h->path, s->path);
        else
            st = put(ctx, buf, (size_t)(count[0] * row_bytes), err);
        if (block >= 0) H5Sclose(block);
    }
    if (file >= 0) H5Sclose(file);
    free(buf);
    return st;
}

g4_status g4_h5_read(g4_h5_file *h, const g4_golden_set *s, g4_h5_put *put, void *ctx,
                     g4_err *err)
{
    hid_t data = set_open(h, s->path);
    if (data < 0) return g4_h5_fail(err, G4_EINPUT, h->path, s->path);
    g4_status st = read_rows(h, data, s, put, ctx, err);
    H5Dclose(data);
    return st;
}
