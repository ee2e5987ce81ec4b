/* SPDX-License-Identifier: Apache-2.0
 * ref/input/chat_parse: answers of the model taken apart.  golden/check_chat.py
 * reads back what the template prints; here are the forms one by one, and the
 * malformed ones with the offset and the words each is reported with. */
#include "harness/check/fault.h"
#include "ref/input/chat.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_answer(void);

#define Q "<|\"|>"
#define CALL(body) "<|tool_call>call:" body "<tool_call|>"

static g4_answer parse(const char *text, int in_thought)
{
    g4_answer a;
    g4_err err = { 0 };
    ck_assert_msg(g4_answer_parse(&a, text, strlen(text), in_thought, &err) == G4_OK, "%s",
                  err.msg);
    ck_assert_uint_eq(strlen(a.text), a.text_len);
    ck_assert_uint_eq(strlen(a.thinking), a.thinking_len);
    return a;
}

static const struct { const char *answer, *thinking, *text, *calls; } good[] = {
    { "", "", "", "[]" },
    { " plain < text > ", "", " plain < text > ", "[]" },
    { "hi<turn|>", "", "hi", "[]" },
    { "hi<turn|>\n", "", "hi", "[]" },
    { "<|turn>model\nhi<eos>", "", "hi", "[]" },
    { "<|channel>thought\n<channel|>hi", "", "hi", "[]" },
    { "<|channel>thought<channel|>hi", "", "hi", "[]" },
    { "<|channel>thought\na\nb\n<channel|>hi", "a\nb", "hi", "[]" },
    { "<|channel>thought\na<channel|>x<|channel>thought\nb\n<channel|>y", "a\nb", "xy", "[]" },
    { CALL("f{}"), "", "", "[{\"name\":\"f\",\"arguments\":{}}]" },
    { "x" CALL("a.b-c_1{}") "y" CALL("g{}") "<|tool_response>", "", "xy",
      "[{\"name\":\"a.b-c_1\",\"arguments\":{}},{\"name\":\"g\",\"arguments\":{}}]" },
    { CALL("f{key:" Q "text" Q ", n:3, list:[1,-2.5e1,[]], obj:{a:true,b:false,c:null}}"), "", "",
      "[{\"name\":\"f\",\"arguments\":{\"key\":\"text\",\"n\":3,\"list\":[1,-25.0,[]],"
      "\"obj\":{\"a\":true,\"b\":false,\"c\":null}}}]" },
    { CALL("f{ " Q "a:b" Q " : None , with space:{ } }"), "", "",
      "[{\"name\":\"f\",\"arguments\":{\"a:b\":null,\"with space\":{}}}]" },
    /* Quoted text is text, whatever stands in it. */
    { CALL("f{s:" Q "}<tool_call|><|tool_call>call:g{}\"\n<turn|>" Q "}"), "", "",
      "[{\"name\":\"f\",\"arguments\":{\"s\":"
      "\"}<tool_call|><|tool_call>call:g{}\\\"\\n<turn|>\"}}]" },
    { CALL("f{n:9223372036854775807,z:-0}"), "", "",
      "[{\"name\":\"f\",\"arguments\":{\"n\":9223372036854775807,\"z\":0}}]" },
};

START_TEST(taken_apart)
{
    g4_answer a = parse(good[_i].answer, 0);
    ck_assert_msg(a.error_count == 0, "%s: %s at %zu", good[_i].answer,
                  a.error_count ? a.errors[0].what : "", a.error_count ? a.errors[0].offset : 0);
    ck_assert_str_eq(a.thinking, good[_i].thinking);
    ck_assert_str_eq(a.text, good[_i].text);
    char *calls = json_dumps(a.tool_calls, JSON_COMPACT);
    ck_assert_str_eq(calls, good[_i].calls);
    free(calls);
    g4_answer_free(&a);
}
END_TEST

/* One error each, at the offset of the mark ^ (not part of the answer). */
static const struct { const char *answer, *what, *text; } bad[] = {
    { "x^<channel|>y", "an end without its beginning", "xy" },
    { "x^<tool_call|>y", "an end without its beginning", "xy" },
    { "x<|channel>thought\n^abc", "thought channel is not closed", "x" },
    { "^<|channel>plan\nabc<channel|>x", "a channel that is not \"thought\"", "x" },
    { "^<|channel>thoughts\nabc<channel|>x", "a channel that is not \"thought\"", "x" },
    { "hi<turn|>\n ^more", "text behind the end of the answer", "hi" },
    { "<|tool_call>^f{}<tool_call|>x", "expected call: and the name of a tool", "x" },
    { "<|tool_call>call:^{}<tool_call|>x", "a call without a name", "x" },
    { "<|tool_call>call:f^(x)<tool_call|>x", "expected { behind the name of a tool", "x" },
    { "<|tool_call>call:f{}^ <tool_call|>x", "expected <tool_call|> behind the arguments", "x" },
    { "<|tool_call>call:f{}^}<tool_call|>x", "expected <tool_call|> behind the arguments", "x" },
    { "<|tool_call>call:f{}^", "expected <tool_call|> behind the arguments", "" },
    { "<|tool_call>call:f{^", "expected a key and :", "" },
    { "<|tool_call>call:f{^a}<tool_call|>", "expected a key and :", "" },
    { "<|tool_call>call:f{a:1,^}<tool_call|>", "expected a key and :", "" },
    { "<|tool_call>call:f{" Q "a" Q "^}<tool_call|>", "expected : behind a key", "" },
    { "<|tool_call>call:f{a:1 ^b:2}<tool_call|>", "expected , or } behind a value", "" },
    { "<|tool_call>call:f{a:true^x}<tool_call|>", "expected , or } behind a value", "" },
    { "<|tool_call>call:f{a:[1^;2]}<tool_call|>", "expected , or ] in a list", "" },
    { "<|tool_call>call:f{a:1,^a:2}<tool_call|>", "key given twice", "" },
    { "<|tool_call>call:f{a:" Q "^open}<tool_call|>", "string is not closed", "" },
    { "<|tool_call>call:f{a:^bare}<tool_call|>", "not a value", "" },
    { "<|tool_call>call:f{a:^\"x\"}<tool_call|>", "not a value", "" },
    { "<|tool_call>call:f{a:^}<tool_call|>", "not a value", "" },
    { "<|tool_call>call:f{a:^01}<tool_call|>", "not a value", "" },
    { "<|tool_call>call:f{a:^1.}<tool_call|>", "not a value", "" },
    { "<|tool_call>call:f{a:^1e}<tool_call|>", "not a value", "" },
    { "<|tool_call>call:f{a:^-}<tool_call|>", "not a value", "" },
    { "<|tool_call>call:f{a:^9223372036854775808}<tool_call|>", "number is out of range", "" },
    { "<|tool_call>call:f{a:^1e999}<tool_call|>", "number is out of range", "" },
};

START_TEST(malformed_ones_are_reported)
{
    char text[256];
    const char *mark = strchr(bad[_i].answer, '^');
    size_t at = (size_t)(mark - bad[_i].answer);
    snprintf(text, sizeof text, "%.*s%s", (int)at, bad[_i].answer, mark + 1);
    g4_answer a = parse(text, 0);
    ck_assert_msg(a.error_count == 1, "%s: %zu errors", text, a.error_count);
    ck_assert_str_eq(a.errors[0].what, bad[_i].what);
    ck_assert_uint_eq(a.errors[0].offset, at);
    ck_assert_str_eq(a.text, bad[_i].text);
    ck_assert_uint_eq(json_array_size(a.tool_calls), 0);
    g4_answer_free(&a);
}
END_TEST

/* A broken call does not take the next one with it. */
START_TEST(good_calls_beside_bad_ones)
{
    g4_answer a = parse(CALL("f{a}") "x" CALL("g{b:1}") CALL("h{") "<channel|>", 0);
    ck_assert_uint_eq(a.error_count, 3);
    ck_assert_uint_eq(json_array_size(a.tool_calls), 1);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(a.tool_calls, 0), "name")),
                     "g");
    for (size_t i = 1; i < a.error_count; i++)
        ck_assert_uint_lt(a.errors[i - 1].offset, a.errors[i].offset);
    g4_answer_free(&a);
}
END_TEST

START_TEST(an_open_thought_goes_on)
{
    g4_answer a = parse("so\n<channel|>hi", 1);
    ck_assert_str_eq(a.thinking, "so");
    ck_assert_str_eq(a.text, "hi");
    ck_assert_uint_eq(a.error_count, 0);
    g4_answer_free(&a);
}
END_TEST

START_TEST(depth_and_bytes)
{
    g4_answer a;
    g4_err err = { 0 };
    char text[400] = "<|tool_call>call:f{a:";
    size_t at = strlen(text);
    memset(text + at, '[', 65);
    memset(text + at + 65, ']', 65);
    strcpy(text + at + 130, "}<tool_call|>");
    a = parse(text, 0);
    ck_assert_uint_eq(a.error_count, 1);
    ck_assert_str_eq(a.errors[0].what, "nested too deep");
    ck_assert_uint_eq(a.errors[0].offset, at + 64);
    g4_answer_free(&a);
    ck_assert_int_eq(g4_answer_parse(&a, "ab\xff", 3, 0, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "at byte 2"));
    ck_assert_int_eq(g4_answer_parse(&a, "a\0b", 3, 0, &err), G4_OK);
    ck_assert_uint_eq(a.text_len, 3);
    g4_answer_free(&a);
}
END_TEST

START_TEST(every_failing_allocation_is_survived)
{
    static const char text[] = "<|channel>thought\na<channel|>b<channel|>" CALL("f{a:[1," Q "x" Q
                               "]}") CALL("g{");
    long n = 1;
    for (;; n++) {
        g4_err err = { 0 };
        g4_answer a;
        fault_alloc_arm(n, 0);
        g4_status s = g4_answer_parse(&a, text, sizeof text - 1, 0, &err);
        if (s == G4_OK) g4_answer_free(&a);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            break;
        }
        ck_assert_int_eq(s, G4_ENOMEM);
    }
    ck_assert_int_gt(n, 3);
}
END_TEST

Suite *check_answer(void)
{
    Suite *s = suite_create("answer");
    TCase *t = tcase_create("parse");
    tcase_add_loop_test(t, taken_apart, 0, (int)(sizeof good / sizeof *good));
    tcase_add_loop_test(t, malformed_ones_are_reported, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_test(t, good_calls_beside_bad_ones);
    tcase_add_test(t, an_open_thought_goes_on);
    tcase_add_test(t, depth_and_bytes);
    tcase_add_test(t, every_failing_allocation_is_survived);
    suite_add_tcase(s, t);
    return s;
}
