/* SPDX-License-Identifier: Apache-2.0
 * Runs a fuzz target over files without a fuzzer: each argument is a file, or a
 * folder whose files are taken in name order.  `make check` replays the corpus
 * of each target with it under any compiler; under clang the same target links
 * with libFuzzer instead (make fuzz).  A bad outcome is a crash, a sanitizer's
 * report, or more memory than any of these small inputs may take. */
#include "ref/base/err.h"
#include "ref/base/map.h"

#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 64 << 20, MAX_KILOBYTES = 1 << 20 };

static int run_file(const char *path)
{
    uint8_t *data;
    size_t size;
    g4_err err;
    if (g4_file_read(path, MAX_BYTES, &data, &size, &err) != G4_OK) {
        fprintf(stderr, "fuzz: %s\n", err.msg);
        return -1;
    }
    /* A copy of exactly this size: reading one byte too far is then seen by ASan. */
    uint8_t *exact = malloc(size ? size : 1);
    if (exact) {
        for (size_t i = 0; i < size; i++) exact[i] = data[i];
        LLVMFuzzerTestOneInput(exact, size);
    }
    free(data);
    free(exact);
    struct rusage use;
    if (getrusage(RUSAGE_SELF, &use) == 0 && use.ru_maxrss > MAX_KILOBYTES) {
        fprintf(stderr, "fuzz: %s: took %ld kB of memory\n", path, use.ru_maxrss);
        return -1;
    }
    return exact ? 1 : -1;
}

static int run_folder(const char *dir)
{
    struct dirent **entry;
    int ran = 0, n = scandir(dir, &entry, NULL, alphasort);
    if (n < 0) {
        perror(dir);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        int len = snprintf(path, sizeof path, "%s/%s", dir, entry[i]->d_name);
        free(entry[i]);
        if (ran < 0 || len < 0 || (size_t)len >= sizeof path || g4_path_kind(path) != 1) continue;
        int r = run_file(path);
        ran = r < 0 ? -1 : ran + r;
    }
    free(entry);
    return ran;
}

int main(int argc, char **argv)
{
    int total = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s FILE|FOLDER...\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        int r = g4_path_kind(argv[i]) == 2 ? run_folder(argv[i]) : run_file(argv[i]);
        if (r < 0) return 1;
        total += r;
    }
    printf("%d inputs\n", total);
    return 0;
}
