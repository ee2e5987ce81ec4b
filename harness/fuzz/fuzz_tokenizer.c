/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a tokenizer.json and, behind the first NUL, a text for it.  What
 * is accepted must encode and decode: ids exist, decoded text is UTF-8, and
 * streaming gives what decoding the whole gives. */
#include "ref/input/tokenizer.h"
#include "ref/input/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds) abort();
}

static void stream(const g4_tokenizer *t, const g4_ids *ids, const char *whole, size_t len)
{
    g4_detok d;
    size_t at = 0;
    g4_detok_init(&d, t, 1);
    for (size_t i = 0; i <= ids->count; i++) {
        const char *piece;
        size_t n;
        g4_status s = i < ids->count ? g4_detok_push(&d, ids->ids[i], &piece, &n, NULL)
                                     : g4_detok_end(&d, &piece, &n, NULL);
        if (s != G4_OK) break;   /* a decoder that grows its text without bound */
        require(n <= len - at && memcmp(whole + at, piece, n) == 0 &&
                g4_utf8_check(piece, n) == n);
        at += n;
        if (i == ids->count) require(at == len);
    }
    g4_detok_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t json = nul ? (size_t)(nul - data) : size, text = nul ? size - json - 1 : 0;
    g4_tokenizer *t;
    g4_err err = { 0 };
    if (g4_tokenizer_parse(&t, "fuzz", data, json, &err) != G4_OK) {
        require(t == NULL && strncmp(err.msg, "fuzz: ", 6) == 0);
        return 0;
    }
    g4_ids ids = { 0 };
    char *back;
    size_t len;
    if (g4_tokenizer_encode(t, nul ? (const char *)nul + 1 : "", text, 1, &ids, NULL) == G4_OK) {
        for (size_t i = 0; i < ids.count; i++)
            require(ids.ids[i] >= 0 && ids.ids[i] < g4_tokenizer_size(t));
        /* Half of the bytes again as ids, some of which do not exist. */
        for (size_t i = 0; i < size && i < 64; i += 2)
            require(g4_ids_push(&ids, data[i] - 2, NULL) == G4_OK);
        if (g4_tokenizer_decode(t, ids.ids, ids.count, 1, &back, &len, NULL) == G4_OK) {
            require(g4_utf8_check(back, len) == len);
            stream(t, &ids, back, len);
            free(back);
        }
    }
    g4_ids_free(&ids);
    g4_tokenizer_free(t);
    return 0;
}
