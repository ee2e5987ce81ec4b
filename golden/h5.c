/* SPDX-License-Identifier: Apache-2.0 */
#include "golden/h5.h"

#include <stdio.h>
#include <string.h>

void g4_h5_start(void)
{
    H5dont_atexit();
    H5open();
    H5PLset_loading_state(0);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

typedef struct innermost {
    char text[512];   /* a driver's is long: its errno stands behind the file name */
} innermost;

/* Walked upward the stack starts where the error arose: keep that one. */
static herr_t keep_first(unsigned n, const H5E_error2_t *e, void *ctx)
{
    innermost *in = ctx;
    if (n == 0 && e->desc) snprintf(in->text, sizeof in->text, "%s", e->desc);
    return 0;
}

g4_status g4_h5_fail(g4_err *err, g4_status code, const char *path, const char *what)
{
    innermost in = {""};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &in);
    H5Eclear2(H5E_DEFAULT);
    /* "file write failed: time = ..., filename = ..., error message = 'text', buf = ..." */
    static const char tail[] = "error message = '";
    char *time = strstr(in.text, ": time = "), *reason = strstr(in.text, tail);
    if (time && reason && time < reason) {
        reason += sizeof tail - 1;
        size_t len = strcspn(reason, "'");
        memmove(time + 2, reason, len);
        time[2 + len] = 0;
    }
    return g4_fail(err, code, "%s: %s%s%s", path, what, in.text[0] ? ": " : "", in.text);
}

hid_t g4_h5_memory_type(g4_golden_type type)
{
    switch (type) {
    case G4_GOLDEN_I8: return H5T_NATIVE_INT8;
    case G4_GOLDEN_U8: return H5T_NATIVE_UINT8;
    case G4_GOLDEN_I32: return H5T_NATIVE_INT32;
    case G4_GOLDEN_F32: return H5T_NATIVE_FLOAT;
    case G4_GOLDEN_F64: break;
    }
    return H5T_NATIVE_DOUBLE;
}

hid_t g4_h5_file_type(g4_golden_type type)
{
    switch (type) {
    case G4_GOLDEN_I8: return H5T_STD_I8LE;
    case G4_GOLDEN_U8: return H5T_STD_U8LE;
    case G4_GOLDEN_I32: return H5T_STD_I32LE;
    case G4_GOLDEN_F32: return H5T_IEEE_F32LE;
    case G4_GOLDEN_F64: break;
    }
    return H5T_IEEE_F64LE;
}

hid_t g4_h5_access(void)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    if (fapl < 0) return fapl;
    if (H5Pset_fapl_sec2(fapl) < 0 || H5Pset_file_locking(fapl, 0, 1) < 0 ||
        H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) < 0 ||
        H5Pset_libver_bounds(fapl, H5F_LIBVER_EARLIEST, H5F_LIBVER_V110) < 0) {
        H5Pclose(fapl);
        return -1;
    }
    return fapl;
}

int g4_golden_set_sane(const g4_golden_set *s)
{
    uint64_t bytes;
    if ((unsigned)s->type > G4_GOLDEN_F64 || (unsigned)s->role > G4_GOLDEN_PIXELS) return 0;
    if (s->rank < 0 || s->rank > G4_GOLDEN_RANK || s->row_dims < 0 || s->row_dims > s->rank)
        return 0;
    if (s->heads_first && s->rank != 3) return 0;
    if (!memchr(s->path, 0, sizeof s->path)) return 0;
    bytes = g4_golden_size(s->type);
    for (int i = 0; i < s->rank; i++)
        if (s->dims[i] < 1 || __builtin_mul_overflow(bytes, (uint64_t)s->dims[i], &bytes)) return 0;
    return bytes <= INT64_MAX;
}
