/* SPDX-License-Identifier: Apache-2.0
 * ref/base/sha256 against the examples of FIPS 180 (NIST "SHA256.pdf"), and against
 * itself with the message cut at every place. */
#include "ref/base/sha256.h"

#include <check.h>
#include <string.h>

Suite *check_sha256(void);

static const struct {
    const char *text;
    int times;
    const char *hex;
} vectors[] = {
    { "", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
      "lmnopqrsmnopqrstnopqrstu", 1,
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
    { "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
};

START_TEST(nist_examples)
{
    g4_sha256 s;
    char hex[G4_SHA256_HEX];
    g4_sha256_begin(&s);
    for (int i = 0; i < vectors[_i].times; i++)
        g4_sha256_add(&s, vectors[_i].text, strlen(vectors[_i].text));
    g4_sha256_end(&s, hex);
    ck_assert_str_eq(hex, vectors[_i].hex);
}
END_TEST

START_TEST(any_cut_gives_the_same)
{
    unsigned char data[200];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 37);
    for (size_t n = 0; n <= sizeof data; n++) {
        char whole[G4_SHA256_HEX], parts[G4_SHA256_HEX];
        g4_sha256 s;
        g4_sha256_begin(&s);
        g4_sha256_add(&s, data, n);
        g4_sha256_end(&s, whole);
        for (size_t cut = 0; cut <= n; cut++) {
            g4_sha256_begin(&s);
            g4_sha256_add(&s, data, cut);
            g4_sha256_add(&s, data + cut, n - cut);
            g4_sha256_end(&s, parts);
            ck_assert_str_eq(parts, whole);
        }
    }
}
END_TEST

Suite *check_sha256(void)
{
    Suite *s = suite_create("sha256");
    TCase *t = tcase_create("sha256");
    tcase_set_tags(t, "unit");
    tcase_add_loop_test(t, nist_examples, 0, (int)(sizeof vectors / sizeof *vectors));
    tcase_add_test(t, any_cut_gives_the_same);
    suite_add_tcase(s, t);
    return s;
}
