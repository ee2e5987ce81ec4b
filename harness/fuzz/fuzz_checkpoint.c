/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the small files of a checkpoint folder that are read beside others,
 * with a NUL between them: model.safetensors.index.json (over two shards that are
 * always there), tokenizer_config.json, config.json and generation_config.json (as
 * the tokenizer reads them) and chat_template.jinja.  An empty one is not there. */
#include "harness/fuzz/folder.h"
#include "ref/file/store.h"
#include "ref/input/chat.h"
#include "ref/input/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char tokenizer[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<bos>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,\"normalized\":false,\"special\":true}],\"normalizer\":null,"
    "\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null,\"model\":{\"type\":\"BPE\","
    "\"byte_fallback\":false,\"vocab\":{\"<bos>\":0,\"a\":1,\"b\":2,\"ab\":3},"
    "\"merges\":[[\"a\",\"b\"]]}}";

static void require(int holds)
{
    if (!holds) abort();
}

/* A safetensors file: two tensors of one byte each. */
static void write_shard(const char *name, const char *first, const char *second)
{
    uint8_t file[256] = { 0 };
    int n = snprintf((char *)file + 8, sizeof file - 8,
                     "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                     "\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                     first, second);
    require(n > 0 && n < 240);
    file[0] = (uint8_t)n;
    fuzz_file(name, file, 8 + (size_t)n + 2);
}

static void open_store(const char *dir)
{
    g4_store *s;
    g4_err err = { G4_OK, "" };
    if (g4_store_open(&s, dir, &err) == G4_OK) {
        require(g4_store_count(s) == 2 || g4_store_count(s) == 4);
        g4_store_close(s);
    } else {
        require(s == NULL && strncmp(err.msg, dir, strlen(dir)) == 0);
    }
}

static void open_tokenizer(const char *dir)
{
    g4_tokenizer *t;
    g4_err err = { G4_OK, "" };
    if (g4_tokenizer_load(&t, dir, &err) == G4_OK) {
        require(g4_tokenizer_bos(t) >= -1 && g4_tokenizer_bos(t) < g4_tokenizer_size(t));
        g4_tokenizer_free(t);
    } else {
        require(t == NULL && strncmp(err.msg, dir, strlen(dir)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "model.safetensors.index.json", "tokenizer_config.json",
                                         "config.json", "generation_config.json",
                                         "chat_template.jinja" };
    static int begun;
    fuzz_bytes rest = { data, size };
    g4_err err = { G4_OK, "" };
    g4_chat_options o = g4_chat_defaults();
    const char *dir = fuzz_folder();
    if (!begun) {
        fuzz_file("tokenizer.json", tokenizer, strlen(tokenizer));
        write_shard("1.safetensors", "a", "b");
        write_shard("2.safetensors", "c", "d");
        begun = 1;
    }
    for (int i = 0; i < 5; i++) {
        fuzz_bytes part = fuzz_cut(&rest);
        fuzz_file(names[i], part.size ? part.data : NULL, part.size);
    }
    open_store(dir);
    open_tokenizer(dir);
    if (g4_chat_detect_dir(&o, dir, &err) != G4_OK)
        require(strncmp(err.msg, dir, strlen(dir)) == 0);
    return 0;
}
