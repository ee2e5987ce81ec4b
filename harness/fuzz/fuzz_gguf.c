/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a GGUF file.  What is accepted must be whole: every tensor inside the data and
 * as long as its shape needs, every value of every key readable, and the same through the
 * store, where the media tensors are put into another order. */
#include "ref/dtype/dtype.h"
#include "ref/file/document.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void check_key(const g4_gguf *g, const char *name)
{
    const g4_gguf_key *k = g4_gguf_find(g, name);
    size_t at = 0, len = 0, n = 0;
    if (!k) return;
    volatile uint8_t sum = 0;
    for (const char *s; (s = g4_gguf_next(k, &at, &len)) != NULL; n++)
        if (len) sum = (uint8_t)(sum + s[0] + s[len - 1]);
    require(k->type != G4_GGUF_STRING || n == k->count);
    for (uint64_t i = 0; i < k->count && i < 8; i++) json_decref(g4_gguf_value(k, i));
    if (g4_gguf_width(k->type)) require(k->bytes == k->count * g4_gguf_width(k->type));
}

static void check_tensor(const uint8_t *data, size_t size, const g4_tensor *t)
{
    require(t->rank >= 1 && t->rank <= 4 && t->type == G4_ST_DTYPE && t->bytes > 0);
    require(t->data >= data && t->bytes <= (size_t)(data + size - t->data));
    volatile uint8_t sum = (uint8_t)(t->data[0] + t->data[t->bytes - 1]);
    (void)sum;
    size_t rows = 1;
    for (int i = 0; i + 1 < t->rank; i++) rows *= (size_t)t->shape[i];
    require(t->bytes == rows * g4_dtype_row_bytes(t->dtype, t->shape[t->rank - 1]));
}

/* The documents made of its keys, with the file as its own media file. */
static void check_documents(g4_gguf *g)
{
    g4_status (*const make[])(json_t **, const g4_gguf_pair *, g4_err *) = {
        g4_gguf_config, g4_gguf_generation, g4_gguf_processor };
    const g4_gguf_pair pair = { g, g };
    for (size_t i = 0; i < sizeof make / sizeof *make; i++) {
        json_t *root;
        g4_err err = { 0 };
        g4_status s = make[i](&root, &pair, &err);
        require((s == G4_OK) == (root != NULL) && (s == G4_OK || strncmp(err.msg, "fuzz", 4) == 0));
        json_decref(root);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = { "general.architecture", "general.alignment", "a", "list",
                                        "tokenizer.ggml.tokens", "text", "f32" };
    g4_gguf *g;
    g4_store *s;
    g4_err err = { 0 };
    if (g4_gguf_parse(&g, "fuzz", data, size, &err) != G4_OK) {
        require(g == NULL && strncmp(err.msg, "fuzz: ", 6) == 0);
        return 0;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) check_key(g, keys[i]);
    for (size_t i = 0; i < g4_gguf_tensors(g); i++) {
        const g4_tensor *t = g4_gguf_tensor_at(g, i);
        require(g4_gguf_tensor(g, t->name) == t);
        check_tensor(data, size, t);
    }
    check_documents(g);
    g4_gguf_close(g);
    if (g4_store_parse(&s, "fuzz", data, size, &err) == G4_OK) {
        for (size_t i = 0; i < g4_store_count(s); i++) {
            const g4_tensor *t = g4_store_at(s, i);
            require(g4_store_find(s, t->name) == t);
            volatile uint8_t sum = (uint8_t)(t->data[0] + t->data[t->bytes - 1]);
            (void)sum;
        }
        g4_store_close(s);
    }
    return 0;
}
