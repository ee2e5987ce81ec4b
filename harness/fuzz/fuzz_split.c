/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a GGUF in two parts, whose second is as foreign as its first.  The input is the
 * first part's length (two bytes, little-endian), that part, and the second.  What is accepted
 * has the tensors of both, each readable to its last byte. */
#include "harness/fuzz/folder.h"
#include "ref/file/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void check_tensors(const g4_gguf *g)
{
    for (size_t i = 0; i < g4_gguf_tensors(g); i++) {
        const g4_tensor *t = g4_gguf_tensor_at(g, i);
        require(g4_gguf_tensor(g, t->name) == t && t->bytes > 0);
        volatile uint8_t sum = (uint8_t)(t->data[0] + t->data[t->bytes - 1]);
        (void)sum;
        size_t part = 0;
        while (part < g4_gguf_parts(g) && strcmp(g4_gguf_part(g, part), t->file) != 0) part++;
        require(part < g4_gguf_parts(g));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char first[] = "m-00001-of-00002.gguf", second[] = "m-00002-of-00002.gguf";
    char path[256];
    g4_gguf *g;
    g4_err err = { G4_OK, "" };
    if (size < 2) return 0;
    size_t len = data[0] | (size_t)data[1] << 8;
    size -= 2;
    if (len > size) len = size;
    fuzz_file(first, data + 2, len);
    fuzz_file(second, data + 2 + len, size - len);
    require(strlen(fuzz_folder()) + sizeof first + 1 < sizeof path);
    strcpy(path, fuzz_folder());
    strcat(path, "/");
    strcat(path, first);
    if (g4_gguf_open(&g, path, &err) == G4_OK) {
        require(g4_gguf_parts(g) <= 2);
        check_tensors(g);
        g4_gguf_close(g);
    } else {
        require(g == NULL && strncmp(err.msg, fuzz_folder(), strlen(fuzz_folder())) == 0);
    }
    return 0;
}
