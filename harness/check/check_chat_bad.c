/* SPDX-License-Identifier: Apache-2.0
 * ref/input/chat: conversations and tools that must be refused, each with the
 * message a user gets: file, place, fault.  Jinja2 would print nothing, or
 * Python's words for an error, for most of these. */
#include "ref/input/chat.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_chat_bad(void);

#define USER(content) "[{\"role\":\"user\",\"content\":" content "}]"
#define MODEL(rest) "[{\"role\":\"assistant\"," rest "}]"
#define PART(part) USER("[{\"type\":\"text\",\"text\":\"x\"}," part "]")
#define CALL(call) MODEL("\"tool_calls\":[" call "]")

/* Refused when read. */
static const struct { const char *json, *message; } rows[] = {
    { "", "c.json: not valid JSON" },
    { "[{\"role\":\"user\"", "c.json: not valid JSON" },
    { "[{\"role\":\"user\",\"content\":\"\\ud800\"}]", "c.json: not valid JSON" },
    { "[{\"role\":\"user\",\"role\":\"user\",\"content\":\"x\"}]", "c.json: not valid JSON" },
    { USER("\"\xff\""), "c.json: not valid JSON" },
    { "7", "c.json: neither an array of messages" },
    { "{\"message\":[]}", "c.json: neither an array of messages" },
    { "{\"messages\":{}}", "c.json: neither an array of messages" },
    { "[]", "c.json: messages has 0 entries" },
    { "[\"hi\"]", "c.json: messages[0] is a string, expected an object" },
    { "[{\"content\":\"x\"}]", "c.json: messages[0].role is missing, expected a string" },
    { "[{\"role\":3,\"content\":\"x\"}]", "c.json: messages[0].role is an integer" },
    { "[{\"role\":\"User\",\"content\":\"x\"}]",
      "c.json: messages[0].role is \"User\", expected system, developer" },
    { "[{\"role\":\"user\\u0007\",\"content\":\"x\"}]", "messages[0].role is \"user\\x07\"" },
    { "[{\"role\":\"user\"}]", "c.json: messages[0].content is missing" },
    { USER("null"), "c.json: messages[0].content is null" },
    { USER("1"), "c.json: messages[0].content is an integer, expected a string or an array" },
    { USER("{}"), "c.json: messages[0].content is an object" },
    { "[{\"role\":\"system\",\"content\":null}]", "messages[0].content is null" },
    { "[{\"role\":\"tool\"}]", "c.json: messages[0].content is missing, expected a value" },
    { PART("\"x\""), "c.json: messages[0].content[1] is a string, expected an object" },
    { PART("{}"), "messages[0].content[1].type is missing" },
    { PART("{\"type\":\"text\"}"), "messages[0].content[1].text is missing, expected a string" },
    { PART("{\"type\":\"text\",\"text\":null}"), "messages[0].content[1].text is null" },
    { PART("{\"type\":\"file\"}"), "messages[0].content[1].type is \"file\", expected text" },
    { PART("{\"type\":\"image\",\"path\":7}"), "messages[0].content[1].path names no file" },
    { PART("{\"type\":\"image\",\"path\":\"\"}"), "messages[0].content[1]: empty file name" },
    { PART("{\"type\":\"image\",\"base64\":\"AAAA\"}"), "content[1].base64: data inside the JSON" },
    { PART("{\"type\":\"image_url\",\"image_url\":{}}"), "content[1].image_url names no file" },
    { PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}"),
      "c.json: messages[0].content[1]: data:image/png;base64,AAAA... is not supported" },
    { PART("{\"type\":\"image\",\"url\":\"https://example.org/a.png\"}"), "is not supported" },
    { PART("{\"type\":\"image\",\"url\":\"file://host/a.png\"}"), "must go on with /" },
    { PART("{\"type\":\"image\",\"url\":\"file:///a%2\"}"), "bad %XX in file:///a%2" },
    { PART("{\"type\":\"image\",\"url\":\"file:///a%00b\"}"), "bad %XX" },
    { PART("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA\",\"format\":\"wav\"}}"),
      "content[1].input_audio: data inside the JSON is not supported" },
    { MODEL("\"reasoning\":1"), "c.json: messages[0].reasoning is an integer" },
    { MODEL("\"reasoning_content\":[]"), "messages[0].reasoning_content is an array" },
    { MODEL("\"tool_calls\":{}"), "messages[0].tool_calls is an object, expected an array" },
    { CALL("1"), "c.json: messages[0].tool_calls[0] is an integer, expected an object" },
    { CALL("{\"name\":\"f\"}"), "messages[0].tool_calls[0].function is missing" },
    { CALL("{\"function\":{}}"), "messages[0].tool_calls[0].function.name is missing" },
    { CALL("{\"function\":{\"name\":\"f\",\"arguments\":[1]}}"),
      "c.json: messages[0].tool_calls[0].function.arguments is an array, expected an object" },
    { CALL("{\"id\":1,\"function\":{\"name\":\"f\"}}"), "tool_calls[0].id is an integer" },
    { MODEL("\"tool_responses\":[{\"name\":\"f\"}]"), "tool_responses[0].response is missing" },
    { MODEL("\"tool_responses\":[{\"name\":1,\"response\":1}]"), "tool_responses[0].name is an" },
    { "{\"messages\":" USER("\"x\"") ",\"tools\":{}}", "c.json: tools is not an array" },
    { "{\"messages\":" USER("\"x\"") ",\"tools\":[1]}", "c.json: tools[0] is an integer" },
    { "{\"messages\":" USER("\"x\"") ",\"tools\":[{\"name\":\"f\"}]}",
      "c.json: tools[0].function is missing, expected an object" },
    { "{\"messages\":" USER("\"x\"") ",\"tools\":[{\"function\":{}}]}",
      "c.json: tools[0].function.name is missing" },
    { "{\"messages\":" USER("\"x\"") ",\"tools\":[{\"function\":{\"name\":\"f\","
      "\"parameters\":\"x\"}}]}", "c.json: tools[0].function.parameters is a string" },
    { "{\"messages\":" USER("\"x\"") ",\"tools\":[{\"function\":{\"name\":\"f\","
      "\"response\":1}}]}", "c.json: tools[0].function.response is an integer" },
};

START_TEST(refused_when_read)
{
    g4_err err = { 0 };
    g4_chat *chat;
    ck_assert_int_eq(g4_chat_parse(&chat, "c.json", rows[_i].json, strlen(rows[_i].json), &err),
                     G4_EINPUT);
    ck_assert_ptr_null(chat);
    ck_assert_msg(strstr(err.msg, rows[_i].message) != NULL, "%s: %s", rows[_i].json, err.msg);
    ck_assert_msg(!strncmp(err.msg, "c.json: ", 8), "%s", err.msg);
}
END_TEST

#define TOOL(function) "{\"messages\":" USER("\"x\"") ",\"tools\":[{\"function\":{\"name\":\"f\"," \
    function "}}]}"
#define RESULT(rest) "[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"function\":{" \
    "\"name\":\"f\",\"arguments\":{}}}]},{\"role\":\"tool\"," rest "}]"

/* Refused when rendered: what only one edition cannot do, and schemas. */
static const struct { g4_chat_edition edition; const char *json, *message; } renderings[] = {
    { G4_CHAT_APRIL, RESULT("\"tool_call_id\":\"2\",\"content\":\"x\""),
      "c.json: messages[1]: its tool_call_id is none of the calls" },
    { G4_CHAT_APRIL, RESULT("\"tool_call_id\":\"1\",\"content\":{\"a\":1}"),
      "c.json: messages[1].content is an object" },
    { G4_CHAT_APRIL, RESULT("\"tool_call_id\":\"1\",\"content\":[{\"type\":\"image\"}]"),
      "c.json: messages[1].content[0]: this edition of the template drops media" },
    { G4_CHAT_APRIL28, RESULT("\"tool_call_id\":\"1\",\"content\":[{\"type\":\"image\"}]"),
      "c.json: messages[1].content[0]: this edition of the template drops media" },
    { G4_CHAT_MAY, "[{\"role\":\"system\",\"content\":[{\"type\":\"image\"}]}]",
      "c.json: messages[0].content[0]: no media in the system turn" },
    { G4_CHAT_MAY, MODEL("\"tool_responses\":[{\"name\":null,\"response\":1}]"),
      "c.json: messages[0].tool_responses[0].name is null" },
    { G4_CHAT_JULY, CALL("{\"function\":{\"name\":\"f\"}}"),
      "c.json: messages[0].tool_calls[0].function.arguments is missing" },
    { G4_CHAT_JULY, CALL("{\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}"),
      "c.json: messages[0].tool_calls[0].function.arguments: not valid JSON" },
    { G4_CHAT_JULY, CALL("{\"function\":{\"name\":\"f\",\"arguments\":\"[]\"}}"),
      "c.json: messages[0].tool_calls[0].function.arguments: not a JSON object" },
    { G4_CHAT_APRIL, TOOL("\"parameters\":{\"properties\":[1]}"),
      "c.json: tools[0].function: properties is not an object" },
    { G4_CHAT_APRIL, TOOL("\"parameters\":{\"required\":true}"),
      "c.json: tools[0].function: required is not an array" },
    { G4_CHAT_APRIL, TOOL("\"parameters\":{\"type\":\"stra\u00dfe\"}"),
      "c.json: tools[0].function: type stra\u00dfe is not a JSON schema type" },
    { G4_CHAT_APRIL, TOOL("\"parameters\":{\"properties\":{\"a\":{\"type\":\"array\",\"items\":"
                          "{\"type\":3}}}}"), "tools[0].function: type of items is neither" },
};

START_TEST(refused_when_rendered)
{
    g4_err err = { 0 };
    g4_chat *chat;
    g4_chat_text t;
    g4_chat_options o = g4_chat_defaults();
    const char *json = renderings[_i].json;
    o.edition = renderings[_i].edition;
    ck_assert_msg(g4_chat_parse(&chat, "c.json", json, strlen(json), &err) == G4_OK, "%s", err.msg);
    ck_assert_int_eq(g4_chat_render(chat, &o, &t, &err), G4_EINPUT);
    ck_assert_ptr_null(t.text);
    ck_assert_msg(strstr(err.msg, renderings[_i].message) == err.msg ||
                  (!strncmp(err.msg, "c.json: ", 8) && strstr(err.msg, renderings[_i].message)),
                  "%s", err.msg);
    g4_chat_free(chat);
}
END_TEST

/* 64 levels are read and rendered, the 65th is refused; no recursion beyond. */
START_TEST(depth_is_bounded)
{
    for (int depth = 55; depth < 5000; depth += depth < 70 ? 1 : 1000) {
        char json[11000];
        size_t at = (size_t)snprintf(json, sizeof json, "[{\"role\":\"assistant\","
                                     "\"tool_responses\":[{\"name\":\"f\",\"response\":");
        /* four levels stand around it: array, message, array, response */
        memset(json + at, '[', (size_t)depth);
        memset(json + at + depth, ']', (size_t)depth);
        strcpy(json + at + 2 * depth, "}]}]");
        g4_err err = { 0 };
        g4_chat *chat;
        g4_chat_text t;
        g4_chat_options o = g4_chat_defaults();
        g4_status s = g4_chat_parse(&chat, "c.json", json, strlen(json), &err);
        ck_assert_int_eq(s, depth + 4 <= 64 ? G4_OK : G4_EINPUT);
        if (s != G4_OK) {
            ck_assert_ptr_nonnull(strstr(err.msg, "c.json: JSON nested deeper than 64"));
            continue;
        }
        ck_assert_int_eq(g4_chat_render(chat, &o, &t, &err), G4_OK);
        g4_chat_text_free(&t);
        g4_chat_free(chat);
    }
}
END_TEST

START_TEST(missing_file_and_bad_tools_name_their_file)
{
    g4_err err = { 0 };
    g4_chat *chat;
    ck_assert_int_ne(g4_chat_load(&chat, "no/such.json", NULL, &err), G4_OK);
    ck_assert_ptr_nonnull(strstr(err.msg, "no/such.json"));
    ck_assert_ptr_null(chat);
    ck_assert_int_eq(g4_chat_load(&chat, "harness/check/data/chat", NULL, &err), G4_EINPUT);
    const char *json = USER("\"x\"");
    ck_assert_int_eq(g4_chat_parse(&chat, "c.json", json, strlen(json), &err), G4_OK);
    ck_assert_int_eq(g4_chat_set_tools(chat, "t.json", "{}", 2, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "t.json: neither an array of tools"));
    ck_assert_int_eq(g4_chat_set_tools(chat, "t.json", "[{}]", 4, &err), G4_EINPUT);
    ck_assert_ptr_nonnull(strstr(err.msg, "t.json: tools[0].function is missing"));
    g4_chat_free(chat);
}
END_TEST

Suite *check_chat_bad(void)
{
    Suite *s = suite_create("chat_bad");
    TCase *t = tcase_create("bad");
    tcase_add_loop_test(t, refused_when_read, 0, (int)(sizeof rows / sizeof *rows));
    tcase_add_loop_test(t, refused_when_rendered, 0,
                        (int)(sizeof renderings / sizeof *renderings));
    tcase_add_test(t, depth_is_bounded);
    tcase_add_test(t, missing_file_and_bad_tools_name_their_file);
    suite_add_tcase(s, t);
    return s;
}
