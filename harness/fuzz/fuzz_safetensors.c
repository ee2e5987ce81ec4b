/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a safetensors file.  What is accepted must be whole: every tensor
 * inside the data, of the bytes its shape needs, found again by its name, and all
 * of them together as long as the data. */
#include "ref/file/store.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g4_store *s;
    g4_err err = { 0 };
    if (g4_store_parse(&s, "fuzz", data, size, &err) != G4_OK) {
        require(s == NULL && strncmp(err.msg, "fuzz: ", 6) == 0);
        return 0;
    }
    uint64_t header = 0;
    for (int i = 0; i < 8; i++) header |= (uint64_t)data[i] << (8 * i);
    const uint8_t *first = data + 8 + header;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < g4_store_count(s); i++) {
        const g4_tensor *t = g4_store_at(s, i);
        require(g4_store_find(s, t->name) == t && t->rank >= 0 && t->rank <= G4_MAX_RANK);
        require(i == 0 || strcmp(g4_store_at(s, i - 1)->name, t->name) < 0);
        require(t->data >= first && t->bytes <= (size_t)(data + size - t->data));
        if (t->bytes) sum = (uint8_t)(sum + t->data[0] + t->data[t->bytes - 1]);
        size_t values = 1;
        for (int k = 0; k < t->rank; k++) values *= (size_t)t->shape[k];
        require(values == 0 ? t->bytes == 0 : t->bytes % values == 0);
    }
    require(g4_store_bytes(s) == (uint64_t)(data + size - first));
    g4_store_close(s);
    return 0;
}
