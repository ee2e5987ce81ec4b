/* SPDX-License-Identifier: Apache-2.0
 * ref/input/chat: conversations whose text Jinja2 rendered from Google's
 * template (data/chat/<edition>.jsonl, made by golden/check_chat.py --write),
 * small ones one can check by eye, media, the choice of the edition, failing
 * allocations.  Faulty conversations: check_chat_bad.c; answers: check_answer.c. */
#include "harness/check/fault.h"
#include "harness/check/tempdir.h"
#include "ref/base/json.h"
#include "ref/base/map.h"
#include "ref/input/chat.h"
#include "ref/input/prompt.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_chat(void);

#define USER_TURN "<bos><|turn>user\n"
#define MODEL_TURN "<turn|>\n<|turn>model\n"
#define EMPTY_THOUGHT "<|channel>thought\n<channel|>"

static g4_chat_text render_options(const char *json, const g4_chat_options *o)
{
    g4_err err = { 0 };
    g4_chat *chat;
    g4_chat_text t;
    ck_assert_msg(g4_chat_parse(&chat, "folder/chat.json", json, strlen(json), &err) == G4_OK,
                  "%s", err.msg);
    ck_assert_msg(g4_chat_render(chat, o, &t, &err) == G4_OK, "%s", err.msg);
    g4_chat_free(chat);
    ck_assert_uint_eq(strlen(t.text), t.len);
    return t;
}

static g4_chat_text render(const char *json)
{
    g4_chat_options o = g4_chat_defaults();
    return render_options(json, &o);
}

static void renders(const char *json, const g4_chat_options *o, const char *want)
{
    g4_chat_text t = render_options(json, o);
    ck_assert_str_eq(t.text, want);
    g4_chat_text_free(&t);
}

/* ---- against Jinja2 -------------------------------------------------------- */

static int flag(const json_t *o, const char *key, int absent)
{
    const json_t *v = json_object_get(o, key);
    return json_is_integer(v) ? (int)json_integer_value(v) : v ? json_is_true(v) : absent;
}

static void one_case(const char *path, size_t line, const char *json, size_t len)
{
    g4_json j;
    g4_err err = { 0 };
    g4_chat *chat;
    g4_chat_text t;
    ck_assert_msg(g4_json_parse(&j, path, json, len, &err) == G4_OK, "%s", err.msg);
    g4_chat_options o = { .edition = (g4_chat_edition)flag(j.root, "edition", -1),
                          .thinking = flag(j.root, "thinking", -2),
                          .add_generation_prompt = flag(j.root, "generation_prompt", -1),
                          .empty_thought = flag(j.root, "empty_thought", -1),
                          .preserve_thinking = flag(j.root, "preserve_thinking", 0) };
    ck_assert_msg(g4_chat_parse(&chat, path, json, len, &err) == G4_OK, "%s", err.msg);
    ck_assert_msg(g4_chat_render(chat, &o, &t, &err) == G4_OK, "%s", err.msg);
    const char *want = json_string_value(json_object_get(j.root, "text"));
    ck_assert_ptr_nonnull(want);
    ck_assert_msg(!strcmp(t.text, want), "%s:%zu:\n%s\nexpected\n%s", path, line, t.text, want);
    json_t *media = json_object_get(j.root, "media"), *entry;
    size_t i;
    ck_assert_uint_eq(t.media_count, json_array_size(media));
    json_array_foreach(media, i, entry) {
        ck_assert_int_eq(t.media[i].kind, json_integer_value(json_array_get(entry, 0)));
        ck_assert_uint_eq(t.media[i].offset, (size_t)json_integer_value(json_array_get(entry, 1)));
    }
    ck_assert_uint_eq(t.stray, (size_t)flag(j.root, "stray", -1));
    g4_chat_text_free(&t);
    g4_chat_free(chat);
    g4_json_free(&j);
}

static const struct { const char *path; size_t cases; } files[] = {
    { "harness/check/data/chat/april.jsonl", 25 },
    { "harness/check/data/chat/april28.jsonl", 8 },
    { "harness/check/data/chat/may.jsonl", 8 },
    { "harness/check/data/chat/july.jsonl", 16 },
};

START_TEST(renders_as_jinja2)
{
    const char *path = files[_i].path;
    uint8_t *data;
    size_t size, lines = 0;
    g4_err err = { 0 };
    ck_assert_msg(g4_file_read(path, 1 << 20, &data, &size, &err) == G4_OK, "%s", err.msg);
    for (char *p = (char *)data, *end; *p; p = end + 1) {
        end = strchr(p, '\n');
        ck_assert_ptr_nonnull(end);
        one_case(path, ++lines, p, (size_t)(end - p));
    }
    ck_assert_uint_eq(lines, files[_i].cases);
    free(data);
}
END_TEST

/* ---- options --------------------------------------------------------------- */

START_TEST(thinking_and_generation_prompt)
{
    const char *hi = "[{\"role\":\"user\",\"content\":\" hi \\n\"}]";
    g4_chat_options o = g4_chat_defaults();
    renders(hi, &o, USER_TURN "hi" MODEL_TURN EMPTY_THOUGHT);
    o.empty_thought = 0;   /* E2B and E4B */
    renders(hi, &o, USER_TURN "hi" MODEL_TURN);
    o.empty_thought = 1;
    o.thinking = 1;
    renders(hi, &o, "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\nhi" MODEL_TURN);
    o.thinking = 0;
    o.add_generation_prompt = 0;
    renders(hi, &o, USER_TURN "hi<turn|>\n");
}
END_TEST

#define CALLED "[{\"role\":\"user\",\"content\":\"x\"}," \
    "{\"role\":\"assistant\",\"reasoning_content\":\"why\",\"tool_calls\":[{\"id\":\"1\"," \
    "\"function\":{\"name\":\"f\",\"arguments\":{\"b\":null,\"A\":[1.0,true]}}}]}," \
    "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"ok\"}]"

START_TEST(editions_differ_where_they_should)
{
    g4_chat_options o = g4_chat_defaults();
    const char *april = USER_TURN "x" MODEL_TURN "<|channel>thought\nwhy\n<channel|>"
        "<|tool_call>call:f{A:[1.0,true],b:None}<tool_call|>"
        "<|tool_response>response:f{value:<|\"|>ok<|\"|>}<tool_response|>";
    o.thinking = 0;
    renders(CALLED, &o, april);
    o.edition = G4_CHAT_JULY;
    renders(CALLED, &o, USER_TURN "x" MODEL_TURN "<|channel>thought\nwhy\n<channel|>"
            "<|tool_call>call:f{A:[1.0,true],b:null}<tool_call|>"
            "<|tool_response>response:f{value:<|\"|>ok<|\"|>}<tool_response|>");
    o.thinking = 1;   /* July: the model goes on thinking about the result */
    g4_chat_text t = render_options(CALLED, &o);
    static const char tail[] = "<tool_response|><|channel>thought\n";
    ck_assert_uint_gt(t.len, sizeof tail);
    ck_assert_str_eq(t.text + t.len - (sizeof tail - 1), tail);
    g4_chat_text_free(&t);
}
END_TEST

/* Arguments as OpenAI writes them: a JSON text. */
START_TEST(arguments_as_text)
{
    const char *json = "[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\","
                       "\"arguments\":\"{\\\"a\\\": 1}\"}}]}]";
    g4_chat_options o = g4_chat_defaults();
    renders(json, &o, "<bos><|turn>model\n<|tool_call>call:f{{\"a\": 1}}<tool_call|>"
            "<|tool_response>");
    o.edition = G4_CHAT_JULY;
    renders(json, &o, "<bos><|turn>model\n<|tool_call>call:f{a:1}<tool_call|><|tool_response>");
}
END_TEST

START_TEST(tools_from_elsewhere_replace_its_own)
{
    const char *json = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":["
                       "{\"function\":{\"name\":\"old\"}}]}";
    const char *tools = "[{\"type\":\"function\",\"function\":{\"name\":\"new\"}}]";
    g4_chat_options o = g4_chat_defaults();
    g4_err err = { 0 };
    g4_chat *chat;
    g4_chat_text t;
    o.add_generation_prompt = 0;
    renders(json, &o, "<bos><|turn>system\n<|tool>declaration:old{description:<|\"|><|\"|>}<tool|>"
            "<turn|>\n<|turn>user\nx<turn|>\n");
    ck_assert_int_eq(g4_chat_parse(&chat, "c.json", json, strlen(json), &err), G4_OK);
    ck_assert_int_eq(g4_chat_set_tools(chat, "t.json", tools, strlen(tools), &err), G4_OK);
    ck_assert_int_eq(g4_chat_render(chat, &o, &t, &err), G4_OK);
    ck_assert_str_eq(t.text, "<bos><|turn>system\n<|tool>declaration:new{description:<|\"|><|\"|>}"
                     "<tool|><turn|>\n<|turn>user\nx<turn|>\n");
    g4_chat_text_free(&t);
    g4_chat_free(chat);
}
END_TEST

/* ---- media ----------------------------------------------------------------- */

START_TEST(media_are_found_at_their_placeholders)
{
    g4_chat_text t = render(
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"<|image|>?\"},"
        "{\"type\":\"image\",\"path\":\"a b.png\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"file:///x/%41%20b.png\"}},"
        "{\"type\":\"input_audio\",\"input_audio\":{\"url\":\"file://localhost/c.wav\"}},"
        "{\"type\":\"video\"},{\"type\":\"text\",\"text\":\"\\u00e9\"},"
        "{\"type\":\"audio\",\"audio\":\"/d.wav\"}]}]");
    static const struct { int kind; const char *path; } want[] = {
        { G4_IMAGE, "folder/a b.png" }, { G4_IMAGE, "/x/A b.png" }, { G4_AUDIO, "/c.wav" },
        { G4_VIDEO, NULL }, { G4_AUDIO, "/d.wav" },
    };
    ck_assert_str_eq(t.text, USER_TURN "<|image|>?<|image|><|image|><|audio|><|video|>\u00e9"
                     "<|audio|>" MODEL_TURN EMPTY_THOUGHT);
    ck_assert_uint_eq(t.media_count, 5);
    size_t at = strlen(USER_TURN "<|image|>?");
    for (size_t i = 0; i < 5; i++, at += 9) {
        if (i == 4) at += 2;   /* the text between */
        ck_assert_int_eq(t.media[i].kind, want[i].kind);
        ck_assert_uint_eq(t.media[i].offset, at);
        ck_assert_uint_eq(t.media[i].len, 9);
        ck_assert_pstr_eq(t.media[i].path, want[i].path);
    }
    /* The user's own "<|image|>" is nobody's. */
    ck_assert_uint_eq(t.stray, 1);
    ck_assert_uint_eq(t.stray_offset, strlen(USER_TURN));
    g4_chat_text_free(&t);
}
END_TEST

/* ---- which edition --------------------------------------------------------- */

/* Names that stand in the editions of the template, one more each time. */
#define APRIL "<|turn> strip_thinking format_tool_response_block "
#define APRIL28 APRIL "filter_keys captured_content "
#define MAY APRIL28 "part.get('type') == 'image' "
#define JULY APRIL28 "argument is none thinking_gate continues_into_next "
#define RESET "ns.prev_message_type = None "

START_TEST(editions_are_told_apart)
{
    static const struct { const char *text; int edition, empty; } rows[] = {
        { APRIL, G4_CHAT_APRIL, 0 }, { APRIL "'<|channel>thought\\n<channel|>'", G4_CHAT_APRIL, 1 },
        { APRIL28, G4_CHAT_APRIL28, 0 },
        { MAY "'<|channel>thought\\n<channel|>'", G4_CHAT_MAY, 1 }, { JULY, G4_CHAT_JULY, 0 },
        { "", -1, 0 }, { "<start_of_turn>", -1, 0 }, { APRIL "filter_keys", -1, 0 },
        { JULY "format_type_argument", -1, 0 }, { JULY RESET, G4_CHAT_JULY, 0 },
        { JULY RESET RESET, -1, 0 },
        { APRIL "thinking_gate continues_into_next", -1, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        g4_chat_options o = g4_chat_defaults();
        g4_err err = { 0 };
        g4_status s = g4_chat_detect(&o, "t.jinja", rows[i].text, strlen(rows[i].text), &err);
        ck_assert_int_eq(s, rows[i].edition < 0 ? G4_EINPUT : G4_OK);
        if (s != G4_OK) {
            ck_assert_ptr_nonnull(strstr(err.msg, "t.jinja: "));
            continue;
        }
        ck_assert_int_eq((int)o.edition, rows[i].edition);
        ck_assert_int_eq(o.empty_thought, rows[i].empty);
    }
}
END_TEST

/* chat_template.jinja goes before tokenizer_config.json, of whose list "default" counts. */
START_TEST(the_template_of_a_folder)
{
    static const struct { const char *jinja, *config; int edition; const char *message; } rows[] = {
        { JULY, "{\"chat_template\":\"" APRIL "\"}", G4_CHAT_JULY, NULL },
        { "", NULL, -1, "/chat_template.jinja: not one of the editions" },
        { NULL, "{\"chat_template\":\"" MAY "\"}", G4_CHAT_MAY, NULL },
        { NULL, "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"" MAY "\"},"
          "{\"name\":\"default\",\"template\":\"" APRIL28 "\"}]}", G4_CHAT_APRIL28, NULL },
        { NULL, "{\"chat_template\":[]}", -1, "chat_template is not a string" },
        { NULL, "{\"chat_template\":7}", -1, "chat_template is not a string" },
        { NULL, "{\"chat_template\":\"x\"}", -1, "/tokenizer_config.json: not one of the edit" },
        { NULL, "{\"chat_template\":null}", G4_CHAT_APRIL, NULL },
        { NULL, "[", -1, "/tokenizer_config.json: not valid JSON" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char dir[TEMPDIR_MAX];
        g4_chat_options o = g4_chat_defaults();
        g4_err err = { 0 };
        const char *jinja = rows[i].jinja, *config = rows[i].config;
        tempdir_make(dir);
        if (jinja) tempdir_write(dir, "chat_template.jinja", jinja, strlen(jinja));
        if (config) tempdir_write(dir, "tokenizer_config.json", config, strlen(config));
        g4_status s = g4_chat_detect_dir(&o, dir, &err);
        if (rows[i].message) {
            ck_assert_int_eq(s, G4_EINPUT);
            ck_assert_msg(!strncmp(err.msg, dir, strlen(dir)) && strstr(err.msg, rows[i].message),
                          "%s", err.msg);
        } else {
            ck_assert_msg(s == G4_OK, "%s", err.msg);
            ck_assert_int_eq((int)o.edition, rows[i].edition);
        }
        tempdir_remove(dir);
    }
}
END_TEST

START_TEST(a_folder_without_template_keeps_the_default)
{
    g4_chat_options o = g4_chat_defaults();
    g4_err err = { 0 };
    ck_assert_int_eq(g4_chat_detect_dir(&o, "harness/check/data/chat", &err), G4_OK);
    ck_assert_int_eq((int)o.edition, G4_CHAT_APRIL);
    ck_assert_int_eq(o.empty_thought, 1);
}
END_TEST

/* ---- failing allocations --------------------------------------------------- */

START_TEST(every_failing_allocation_is_survived)
{
    static const char json[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"path\":\"a.png\"}]},"
        "{\"role\":\"assistant\",\"content\":\"a<|channel>b<channel|>c\",\"tool_calls\":[{\"id\":"
        "\"1\",\"function\":{\"name\":\"f\",\"arguments\":{\"x\":{\"y\":[1,2.5]}}}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":[{\"type\":\"text\",\"text\":"
        "\"t\"}]}],\"tools\":[{\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
        "\"properties\":{\"x\":{\"type\":\"string\"}}},\"response\":{\"type\":\"object\"}}}]}";
    g4_chat_options o = g4_chat_defaults();
    long n = 1;
    for (;; n++) {
        g4_err err = { 0 };
        g4_chat *chat;
        g4_chat_text t = { 0 };
        fault_alloc_arm(n, 0);
        g4_status s = g4_chat_parse(&chat, "c.json", json, sizeof json - 1, &err);
        if (s == G4_OK) s = g4_chat_render(chat, &o, &t, &err);
        g4_chat_text_free(&t);
        g4_chat_free(chat);
        fault_end();
        ck_assert_int_eq(fault_live(), 0);
        if (!fault_fired()) {
            ck_assert_int_eq(s, G4_OK);
            break;
        }
        ck_assert_int_eq(s, G4_ENOMEM);
    }
    ck_assert_int_gt(n, 10);   /* the window saw our allocations at all */
}
END_TEST

Suite *check_chat(void)
{
    Suite *s = suite_create("chat");
    TCase *t = tcase_create("render");
    tcase_add_loop_test(t, renders_as_jinja2, 0, (int)(sizeof files / sizeof *files));
    tcase_add_test(t, thinking_and_generation_prompt);
    tcase_add_test(t, editions_differ_where_they_should);
    tcase_add_test(t, arguments_as_text);
    tcase_add_test(t, tools_from_elsewhere_replace_its_own);
    tcase_add_test(t, media_are_found_at_their_placeholders);
    suite_add_tcase(s, t);
    t = tcase_create("edition");
    tcase_add_test(t, editions_are_told_apart);
    tcase_add_test(t, the_template_of_a_folder);
    tcase_add_test(t, a_folder_without_template_keeps_the_default);
    suite_add_tcase(s, t);
    t = tcase_create("fault");
    tcase_add_test(t, every_failing_allocation_is_survived);
    suite_add_tcase(s, t);
    return s;
}
