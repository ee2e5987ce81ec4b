/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/check/tempdir.h"

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void tempdir_make(char dir[TEMPDIR_MAX])
{
    const char *base = getenv("TMPDIR");
    if (!base || !*base) base = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
    int n = snprintf(dir, TEMPDIR_MAX, "%s/g4check.XXXXXX", base);
    ck_assert_int_lt(n, TEMPDIR_MAX);
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void tempdir_remove(const char *dir)
{
    ck_assert_int_eq(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

void tempdir_path(char path[TEMPDIR_MAX], const char *dir, const char *name)
{
    ck_assert_int_lt(snprintf(path, TEMPDIR_MAX, "%s/%s", dir, name), TEMPDIR_MAX);
}

void tempdir_write(const char *dir, const char *name, const void *data, size_t size)
{
    char path[TEMPDIR_MAX];
    tempdir_path(path, dir, name);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
}

int tempdir_count(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;
    if (!d) return -1;
    while ((e = readdir(d)) != NULL)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}
