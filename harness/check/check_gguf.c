/* SPDX-License-Identifier: Apache-2.0
 * ref/file/gguf: the container, good and hostile.  One base file, one thing wrong in each
 * case; every prefix of a good file; values of all types; names and orders of tensors. */
#include "harness/check/fault.h"
#include "harness/check/gguf_file.h"
#include "ref/base/half.h"
#include "ref/file/gguf.h"
#include "ref/file/gguf_names.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_gguf(void);

#define NONE UINT64_MAX   /* this knob is not turned */

/* The base file: architecture, alignment and one more key; tensors a (F32 [2][3]) and b
 * (q8_0 [2][32]).  A knob that is 0 (where 0 makes sense: NONE) leaves the base as it is. */
typedef struct recipe {
    const char *says;
    const char *magic;
    uint32_t version;
    uint64_t keys, tensors;          /* the counts the header claims */
    const char *key;                 /* the third key's name */
    uint64_t key_len;
    uint32_t type;                   /* and value: raw bytes behind its type */
    const char *value;
    size_t value_bytes;
    uint32_t align_type;
    uint64_t align;
    const char *b;                   /* tensor b's record */
    uint64_t b_len;
    uint32_t rank;
    uint64_t dim[4];
    uint64_t dtype;
    uint64_t offset;
    size_t cut, extra;               /* bytes off or on at the end */
} recipe;

#define RAW(s) .value = (s), .value_bytes = sizeof(s) - 1
#define N64(b) b "\0\0\0\0\0\0\0"
#define FULL64 "\xff\xff\xff\xff\xff\xff\xff\xff"

static const recipe bad[] = {
    { .says = "neither a model folder nor a GGUF", .magic = "GGUX" },
    { .says = "neither a model folder nor a GGUF", .magic = "FUGG" },
    { .says = "GGUF version 1;", .version = 1 },
    { .says = "GGUF version 4;", .version = 4 },
    { .says = "GGUF version 50331648 (big-endian?)", .version = 0x03000000 },
    /* counts */
    { .says = "18446744073709551615 keys in", .keys = UINT64_MAX },
    { .says = "1000000 keys in", .keys = 1000000 },
    { .says = "18446744073709551615 tensors in", .tensors = UINT64_MAX },
    { .says = "100000 tensors in", .tensors = 100000 },
    { .says = "name of tensor 0 has", .keys = 4 },
    { .says = "4611686018427387905 tensors in", .tensors = (1ull << 62) + 1 },
    /* keys */
    { .says = "name of key 2 has 18446744073709551615 bytes", .key_len = UINT64_MAX },
    { .says = "name of key 2 has 65536 bytes", .key_len = 65536 },
    { .says = "key general.architecture is there twice", .key = "general.architecture" },
    { .says = "key x has type 13, which is not known", .type = 13 },
    { .says = "key x has type 4294967295", .type = UINT32_MAX },
    { .says = "key x has type array of 9,", .type = 9, RAW("\x09\0\0\0" N64("\1") "\0\0\0\0") },
    { .says = "key x has type array of 77,", .type = 9, RAW("\x4d\0\0\0" N64("\1") "\0\0\0\0") },
    { .says = "key x: 4294967295 values of 4 bytes", .type = 9,
      RAW("\4\0\0\0\xff\xff\xff\xff\0\0\0\0") },
    { .says = "key x: 18446744073709551615 values of 1 bytes", .type = 9, RAW("\0\0\0\0" FULL64) },
    { .says = "key x: 18446744073709551615 values of 8 bytes", .type = 9,
      RAW("\x0a\0\0\0" FULL64) },
    { .says = "key x: 18446744073709551615 strings in", .type = 9,
      RAW("\x08\0\0\0" FULL64) },
    { .says = "key x: string 0 of 18446744073709551615 bytes", .type = 8, RAW(FULL64) },
    { .says = "key x: string 1 of 18446744073709551608 bytes", .type = 9,
      RAW("\x08\0\0\0" N64("\2") N64("\1") "a" "\xf8\xff\xff\xff\xff\xff\xff\xff") },
    { .says = "key x: 2 is no bool", .type = 7, RAW("\2") },
    { .says = "key x: 255 is no bool", .type = 9, RAW("\7\0\0\0" N64("\2") "\1\xff") },
    /* alignment */
    { .says = "key general.alignment is no power of two", .align = 0 },
    { .says = "key general.alignment is no power of two", .align = 33 },
    { .says = "key general.alignment is no power of two", .align = 1u << 31 },
    { .says = "key general.alignment is no power of two", .align = 32, .align_type = 5 },
    /* tensors */
    { .says = "name of tensor 1 has 18446744073709551615 bytes", .b_len = UINT64_MAX },
    { .says = "name of tensor 1 has 64 bytes", .b_len = 64 },
    { .says = "tensor a is there twice", .b = "a" },
    { .says = "tensor b has 5 dimensions", .rank = 5 },
    { .says = "tensor b has 4294967295 dimensions", .rank = UINT32_MAX },
    { .says = "tensor b: bad size 0 of dimension 0", .dim = { 0, 2 } },
    { .says = "tensor b: bad size 9223372036854775808 of dimension 1",
      .dim = { 32, 1ull << 63 } },
    { .says = "tensor b: bad size 4294967296 of dimension 1", .dim = { 1ull << 32, 1ull << 32 } },
    { .says = "tensor b: bad size 1152921504606846976 of dimension 1", .dim = { 32, 1ull << 60 } },
    { .says = "tensor b: rows of 33 values are no blocks of 32 (q8_0)", .dim = { 33, 2 } },
    { .says = "tensor b has ggml type 4, which is not read", .dtype = 4 },
    { .says = "tensor b has ggml type 4294967295,", .dtype = UINT32_MAX },
    { .says = "tensor b: 36507222016 bytes at 32 lie outside", .dim = { 32, 1u << 30 } },
    { .says = "tensor b begins at byte 33, not at 32", .offset = 33 },
    { .says = "tensor b begins at byte 0, not at 32", .offset = 0 },
    { .says = "tensor b begins at byte 64, not at 32", .offset = 64 },
    { .says = "tensor b begins at byte 18446744073709551584, not at 32", .offset = -32ull },
    { .says = "tensor b: 68 bytes at 32 lie outside 95", .cut = 33 },
    { .says = "29 bytes behind the last tensor", .extra = 1 },
};

static void put_name(gguf_file *f, const char *name, uint64_t claim)
{
    gguf_uint(f, claim ? claim : strlen(name), 8);
    gguf_bytes(f, name, strlen(name));
}

/* A file with every knob in its base position but those that the recipe turns. */
static gguf_file cook(const recipe *r)
{
    gguf_file f = { 0 };
    static const uint64_t shape[4] = { 32, 2 };
    gguf_bytes(&f, r->magic ? r->magic : "GGUF", 4);
    gguf_uint(&f, r->version ? r->version : 3, 4);
    gguf_uint(&f, r->tensors ? r->tensors : 2, 8);
    gguf_uint(&f, r->keys ? r->keys : 3, 8);
    gguf_key_text(&f, "general.architecture", "gemma4");
    gguf_key_uint(&f, "general.alignment", r->align_type ? r->align_type : 4,
                  r->align == NONE ? 32 : r->align, 4);
    put_name(&f, r->key ? r->key : "x", r->key_len);
    gguf_uint(&f, r->value || r->type ? r->type : 4, 4);
    gguf_bytes(&f, r->value ? r->value : "\1\2\3\4", r->value ? r->value_bytes : 4);
    gguf_tensor(&f, "a", 2, (const uint64_t[]){ 3, 2 }, 0, 0);
    put_name(&f, r->b ? r->b : "b", r->b_len);
    gguf_uint(&f, r->rank ? r->rank : 2, 4);
    for (int i = 0; i < 2; i++) gguf_uint(&f, r->dim[1] ? r->dim[i] : shape[i], 8);
    gguf_uint(&f, r->dtype == NONE ? 8 : r->dtype, 4);
    gguf_uint(&f, r->offset == NONE ? 32 : r->offset, 8);
    gguf_pad(&f, 32);
    for (int i = 0; i < 128; i++) gguf_uint(&f, (uint64_t)i, 1);   /* 24 + 8, 68 + 28 */
    for (size_t i = 0; i < r->extra; i++) gguf_uint(&f, 0, 1);
    f.size -= r->cut;
    return f;
}

/* Parses a copy of exactly this size, so that ASan sees a byte too far. */
static g4_status parse(const gguf_file *f, size_t size, g4_err *err)
{
    g4_gguf *g;
    uint8_t *exact = malloc(size ? size : 1);
    ck_assert_ptr_nonnull(exact);
    if (size) memcpy(exact, f->data, size);
    *err = (g4_err){ G4_OK, "" };
    fault_begin();
    g4_status s = g4_gguf_parse(&g, "dir/m.gguf", exact, size, err);
    if (s == G4_OK) g4_gguf_close(g);
    fault_end();
    ck_assert_int_eq(fault_live(), 0);
    ck_assert(s == G4_OK || g == NULL);
    free(exact);
    return s;
}

START_TEST(bad_files)
{
    recipe r = bad[_i];
    g4_err err;
    /* NONE where the table leaves a knob alone for which 0 has a meaning */
    if (!strstr(r.says, "alignment")) r.align = NONE;
    if (r.dtype == 0) r.dtype = NONE;
    if (!strstr(r.says, "begins at")) r.offset = NONE;
    gguf_file f = cook(&r);
    g4_status s = parse(&f, f.size, &err);
    ck_assert_msg(s == G4_EINPUT, "taken, or %d: %s (wanted: %s)", (int)s, err.msg, r.says);
    ck_assert_msg(strncmp(err.msg, "dir/m.gguf: ", 12) == 0 && strstr(err.msg, r.says),
                  "%s (wanted: %s)", err.msg, r.says);
    for (const char *p = err.msg; *p; p++) ck_assert_msg((unsigned char)*p >= 32, "raw byte");
    free(f.data);
}
END_TEST

static const recipe base = { .align = NONE, .dtype = NONE, .offset = NONE };

/* Cut anywhere it is refused, but in the padding of its end; and with any byte of its header
 * changed it is taken or refused, never worse (ASan, UBSan). */
START_TEST(every_prefix)
{
    gguf_file f = cook(&base);
    g4_err err;
    for (size_t n = 0; n < f.size; n++) {
        g4_status s = parse(&f, n, &err);
        ck_assert_msg(n + 28 >= f.size ? s == G4_OK : s == G4_EINPUT, "%zu: %s", n, err.msg);
    }
    size_t header = f.size - 128;
    for (size_t i = 0; i < header; i++)
        for (int bit = 0; bit < 8; bit++) {
            f.data[i] ^= (uint8_t)(1 << bit);
            g4_status s = parse(&f, f.size, &err);
            ck_assert(s == G4_OK || s == G4_EINPUT);
            f.data[i] ^= (uint8_t)(1 << bit);
        }
    ck_assert_msg(parse(&f, f.size, &err) == G4_OK, "%s", err.msg);
    free(f.data);
}
END_TEST

START_TEST(no_memory)
{
    gguf_file f = cook(&base);
    for (long n = 1;; n++) {
        g4_store *s;
        g4_err err = { G4_OK, "" };
        fault_alloc_arm(n, 0);
        g4_status st = g4_store_parse(&s, "m.gguf", f.data, f.size, &err);
        if (st == G4_OK) g4_store_close(s);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        ck_assert_msg(fault_fired() ? st == G4_ENOMEM : st == G4_OK, "%ld: %s", n, err.msg);
        if (!fault_fired()) break;
    }
    free(f.data);
}
END_TEST

static gguf_file all_types(void)
{
    gguf_file f = { 0 };
    gguf_head(&f, 0, 12);
    gguf_key_uint(&f, "u8", 0, 200, 1);
    gguf_key_uint(&f, "i8", 1, 0xfe, 1);
    gguf_key_uint(&f, "i16", 3, 0x8000, 2);
    gguf_key_uint(&f, "u32", 4, 0xffffffff, 4);
    gguf_key_uint(&f, "i64", 11, -5ull, 8);
    gguf_key_uint(&f, "u64", 10, UINT64_MAX, 8);
    gguf_key_uint(&f, "bool", 7, 1, 1);
    gguf_key_uint(&f, "f32", 6, 0x358637bd, 4);               /* 1e-6 rounded to float32 */
    gguf_key_uint(&f, "f64", 12, 0x3ff8000000000000, 8);      /* 1.5 */
    gguf_key_uint(&f, "nan", 6, 0x7fc00000, 4);
    gguf_key_text(&f, "text", "a b");
    gguf_key_array(&f, "list", 8, 3);
    gguf_text(&f, "one");
    gguf_text(&f, "");
    gguf_text(&f, "\xff");
    return f;
}

static void has(const g4_gguf *g, const char *key, uint64_t i, const char *json)
{
    const g4_gguf_key *k = g4_gguf_find(g, key);
    ck_assert_msg(k != NULL, "%s", key);
    json_t *v = g4_gguf_value(k, i);
    ck_assert_msg(!v == !json, "%s", key);
    if (!v) return;
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    ck_assert_str_eq(text, json);
    free(text);
    json_decref(v);
}

START_TEST(values)
{
    gguf_file f = all_types();
    g4_gguf *g;
    g4_err err;
    ck_assert_msg(g4_gguf_parse(&g, "m", f.data, f.size, &err) == G4_OK, "%s", err.msg);
    has(g, "u8", 0, "200");
    has(g, "i8", 0, "-2");
    has(g, "i16", 0, "-32768");
    has(g, "u32", 0, "4294967295");
    has(g, "i64", 0, "-5");
    has(g, "u64", 0, NULL);
    has(g, "bool", 0, "true");
    has(g, "f32", 0, "9.9999999999999995e-7");   /* the double 1e-6, as jansson prints it */
    has(g, "f64", 0, "1.5");
    has(g, "nan", 0, NULL);
    has(g, "text", 0, "\"a b\"");
    has(g, "list", 0, "\"one\"");
    has(g, "list", 1, "\"\"");
    has(g, "list", 2, NULL);
    json_t *eps = g4_gguf_value(g4_gguf_find(g, "f32"), 0);
    ck_assert(json_real_value(eps) == 1e-6);
    json_decref(eps);
    ck_assert_ptr_null(g4_gguf_find(g, "tex"));
    size_t len, at = 0, n = 0;
    while (g4_gguf_next(g4_gguf_find(g, "list"), &at, &len)) n++;
    ck_assert_uint_eq(n, 3);
    ck_assert_ptr_null(g4_gguf_string(g4_gguf_find(g, "list"), &len));
    ck_assert_ptr_null(g4_gguf_string(g4_gguf_find(g, "u8"), &len));
    ck_assert_ptr_null(g4_gguf_string(NULL, &len));
    g4_gguf_close(g);
    free(f.data);
}
END_TEST

START_TEST(names)
{
    static const struct { const char *gguf, *hf; int drafter; } pairs[] = {
        { "token_embd.weight", "model.language_model.embed_tokens.weight", 0 },
        { "token_embd.weight", "model.embed_tokens.weight", 1 },
        { "blk.0.attn_q.weight", "model.language_model.layers.0.self_attn.q_proj.weight", 0 },
        { "blk.47.layer_output_scale.weight", "model.language_model.layers.47.layer_scalar", 0 },
        { "nextn.pre_projection.weight", "pre_projection.weight", 1 },
        { "v.patch_norm.3.bias", "model.vision_embedder.pos_norm.bias", 0 },
    };
    static const char *const none[] = { "blk.attn_q.weight", "blk.01.attn_q.weight", "blk.1",
                                        "blk.1234567890.attn_q.weight", "", "token_embd.weightx",
                                        "blk.1.attn_q.bias" };
    char name[G4_TENSOR_NAME];
    g4_gguf_change change;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        ck_assert(g4_gguf_to_hf(name, pairs[i].gguf, pairs[i].drafter, &change));
        ck_assert_str_eq(name, pairs[i].hf);
        ck_assert(g4_gguf_from_hf(name, pairs[i].hf, pairs[i].drafter, &change));
        ck_assert_str_eq(name, pairs[i].gguf);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ck_assert(!g4_gguf_to_hf(name, none[i], 0, &change));
}
END_TEST

/* The converter's permutations undone, whatever the number format. */
static gguf_file media_file(uint32_t type)
{
    gguf_file f = { 0 };
    float v[24];
    uint16_t h[24];
    for (int i = 0; i < 24; i++) v[i] = (float)i, h[i] = g4_f32_to_bf16(v[i]);
    gguf_head(&f, 2, 1);
    gguf_key_text(&f, "general.architecture", "clip");
    gguf_tensor(&f, "v.patch_embd.weight", 2, (const uint64_t[]){ 12, 2 }, type, 0);
    gguf_tensor(&f, "v.position_embd.weight", 3, (const uint64_t[]){ 4, 3, 2 }, type,
                type ? 64 : 96);
    for (int i = 0; i < 2; i++) {
        gguf_pad(&f, 32);
        gguf_bytes(&f, type ? (const void *)h : v, type ? sizeof h : sizeof v);
    }
    return f;
}

static float value_at(const g4_tensor *t, int i)
{
    float f;
    if (t->dtype == G4_BF16) return g4_bf16_to_f32(g4_load_u16(t->data + 2 * i));
    memcpy(&f, t->data + 4 * i, sizeof f);
    return f;
}

START_TEST(permutations)
{
    gguf_file f = media_file(_i ? 30 : 0);
    g4_store *s;
    g4_err err = { G4_OK, "" };
    ck_assert_msg(g4_store_parse(&s, "m", f.data, f.size, &err) == G4_OK, "%s", err.msg);
    const g4_tensor *p = g4_store_find(s, "model.vision_embedder.patch_dense.weight");
    const g4_tensor *e = g4_store_find(s, "model.vision_embedder.pos_embedding");
    ck_assert(p && e && g4_store_count(s) == 2);
    ck_assert(p->dtype == (_i ? G4_BF16 : G4_F32) && p->shape[0] == 2 && p->shape[1] == 12);
    for (int row = 0; row < 2; row++)
        for (int pixel = 0; pixel < 4; pixel++)
            for (int colour = 0; colour < 3; colour++)
                ck_assert(value_at(p, row * 12 + pixel * 3 + colour) ==
                          (float)(row * 12 + colour * 4 + pixel));
    ck_assert(e->rank == 3 && e->shape[0] == 3 && e->shape[1] == 2 && e->shape[2] == 4);
    for (int i = 0; i < 3; i++)
        for (int axis = 0; axis < 2; axis++)
            for (int c = 0; c < 4; c++)
                ck_assert(value_at(e, (i * 2 + axis) * 4 + c) == (float)((axis * 3 + i) * 4 + c));
    g4_store_close(s);
    free(f.data);
}
END_TEST

START_TEST(other_architecture)
{
    static const char *const archs[] = { "llama", "gemma3", "gemma4x", "" };
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        gguf_file f = { 0 };
        g4_store *s;
        g4_err err;
        char want[64];
        gguf_head(&f, 0, 1);
        gguf_key_text(&f, "general.architecture", archs[i]);
        ck_assert_int_eq(g4_store_parse(&s, "m", f.data, f.size, &err), G4_EINPUT);
        snprintf(want, sizeof want, "m: general.architecture is \"%s\"", archs[i]);
        ck_assert_msg(strstr(err.msg, want) == err.msg, "%s", err.msg);
        free(f.data);
    }
}
END_TEST

Suite *check_gguf(void)
{
    Suite *s = suite_create("gguf");
    TCase *tc = tcase_create("container");
    tcase_add_loop_test(tc, bad_files, 0, sizeof bad / sizeof *bad);
    tcase_add_test(tc, every_prefix);
    tcase_add_test(tc, no_memory);
    tcase_add_test(tc, values);
    tcase_add_test(tc, names);
    tcase_add_loop_test(tc, permutations, 0, 2);
    tcase_add_test(tc, other_architecture);
    suite_add_tcase(s, tc);
    return s;
}
