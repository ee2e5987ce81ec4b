/* SPDX-License-Identifier: Apache-2.0
 * The server as a client meets it: a child on a free port, spoken to over sockets.  Its
 * figures are held against a forward pass of our own, its texts against `generate`; what is
 * wrong in a request is named; clients that vanish, dawdle or send rubbish do no harm. */
#include "harness/check/program.h"
#include "harness/check/serve_client.h"
#include "harness/logprob.h"
#include "harness/runtime.h"
#include "harness/serve/ask.h"
#include "ref/base/map.h"
#include "ref/base/rng.h"
#include "ref/model/forward.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

Suite *check_serve(void);

#define MODEL "golden/tiny/mini/model"

/* Each test ends the server as a user ends it. */
static void start(void)
{
    serve_start(MODEL);
}

static void start_bos(void)
{
    serve_start(MODEL " --bos-ids");
}

static void start_trained(void)
{
    serve_start("golden/miniature");
}

/* ---- what is there ---- */

START_TEST(small_answers)
{
    if (!serve_runnable()) return;
    ck_assert_int_eq(serve_request("GET", "/health", "", "", 0), 200);
    ck_assert_str_eq(serve_body, "{\"status\":\"ok\"}");
    ck_assert_int_eq(serve_request("GET", "/v1/models", "", "", 0), 200);
    ck_assert_ptr_nonnull(strstr(serve_body, "\"id\":\"model\""));
    ck_assert_int_eq(serve_request("GET", "/tokenizer_info", "", "", 0), 200);
    ck_assert_ptr_nonnull(strstr(serve_body, "\"eos_token\":\"<eos>\""));
    ck_assert_ptr_nonnull(strstr(serve_body, "\"bos_token\":\"<bos>\""));
    json_t *with = serve_answer("/tokenize", "{\"prompt\": \"a tiny \\u00e9\"}");
    json_t *without = serve_answer("/tokenize",
                             "{\"prompt\": \"a tiny \\u00e9\", \"add_special_tokens\": false}");
    json_t *ids = serve_at(without, "tokens");
    ck_assert_uint_eq(json_array_size(serve_at(with, "tokens")), json_array_size(ids) + 1);
    json_t *back = json_pack("{s:O}", "tokens", ids);
    char *data = json_dumps(back, 0);
    json_t *text = serve_answer("/detokenize", data);
    ck_assert_str_eq(serve_text(text, "prompt"), "a tiny \xc3\xa9");
    free(data);
    json_decref(back);
    json_decref(text);
    json_decref(with);
    json_decref(without);
    json_decref(serve_answer("/detokenize", "{\"tokens\": []}"));
}
END_TEST

#define COMPLETION "/v1/completions", "{\"prompt\": \"x\""
#define U "{\"role\": \"user\", \"content\": "
#define CHAT "{\"messages\": [" U "\"hi\"}]"
#define TALK "/v1/chat/completions"
#define PIC "{\"messages\": [" U "[{\"type\": \"image_url\", \"image_url\": "

static const struct {
    const char *path, *body;
    int status;
    const char *says;            /* in the message, or "param" */
} wrong[] = {
    { "/v1/completions", "", 400, "not valid JSON" },
    { "/v1/completions", "[]", 400, "not a JSON object" },
    { "/v1/completions", "{\"prompt\": \"x\"} x", 400, "not valid JSON" },
    { COMPLETION ", \"prompt\": \"y\"}", 400, "not valid JSON" },
    { "/v1/completions", "{\"prompt\": \"\\u0000\"}", 400, "not valid JSON" },
    { "/v1/completions", "{}", 400, "\"param\":\"prompt\"" },
    { "/v1/completions", "{\"prompt\": 5}", 400, "\"param\":\"prompt\"" },
    { "/v1/completions", "{\"prompt\": []}", 400, "\"param\":\"prompt\"" },
    { "/v1/completions", "{\"prompt\": [[]]}", 400, "\"param\":\"prompt\"" },
    { "/v1/completions", "{\"prompt\": [2, -1]}", 400, "\"param\":\"prompt\"" },
    { "/v1/completions", "{\"prompt\": [2, 1e1]}", 400, "\"param\":\"prompt\"" },
    { "/v1/completions", "{\"prompt\": [2, 999999]}", 400, "\"param\":\"prompt\"" },
    { "/v1/completions", "{\"prompt\": [\"a\", [2]], \"n\": 0}", 400, "\"param\":\"n\"" },
    { COMPLETION ", \"max_tokens\": -1}", 400, "\"param\":\"max_tokens\"" },
    { COMPLETION ", \"max_tokens\": 0}", 400, "only with echo" },
    { COMPLETION ", \"max_tokens\": 9000}", 400,
      "context_length_exceeded" },
    { COMPLETION ", \"max_tokens\": 1.5}", 400, "\"param\":\"max_tokens\"" },
    { COMPLETION ", \"temperature\": -0.1}", 400, "temperature is -0.1" },
    { COMPLETION ", \"temperature\": 1e999}", 400, "not valid JSON" },
    { COMPLETION ", \"top_p\": 1.1}", 400, "\"param\":\"top_p\"" },
    { COMPLETION ", \"top_k\": -2}", 400, "\"param\":\"top_k\"" },
    { COMPLETION ", \"logprobs\": 21}", 400, "\"param\":\"logprobs\"" },
    { COMPLETION ", \"logprobs\": true}", 400, "\"param\":\"logprobs\"" },
    { COMPLETION ", \"seed\": \"1\"}", 400, "\"param\":\"seed\"" },
    { COMPLETION ", \"stop\": \"\"}", 400, "\"param\":\"stop\"" },
    { COMPLETION ", \"stop\": [1]}", 400, "\"param\":\"stop\"" },
    { COMPLETION ", \"n\": 129}", 400, "\"param\":\"n\"" },
    { "/v1/completions", "{\"prompt\": [[2], [2], [2], [2], [2], [2], [2], [2], [2]], \"n\": 128}",
      400, "at most 1024 answers" },
    { COMPLETION ", \"max_tokens\": 8000, \"n\": 128, \"logprobs\": 20}", 400,
      "log-probabilities" },
    { COMPLETION ", \"best_of\": 2}", 400, "\"param\":\"best_of\"" },
    { COMPLETION ", \"echo\": 1}", 400, "\"param\":\"echo\"" },
    { COMPLETION ", \"stream_options\": 1}", 400,
      "\"param\":\"stream_options\"" },
    { COMPLETION ", \"n_discard\": -1}", 400, "n_discard is no field" },
    { COMPLETION ", \"messages\": []}", 400, "\"param\":\"messages\"" },
    { COMPLETION ", \"logit_bias\": {\"2\": 5}}", 400,
      "\"param\":\"logit_bias\"" },
    { COMPLETION ", \"suffix\": \"y\"}", 400, "\"param\":\"suffix\"" },
    { COMPLETION ", \"presence_penalty\": 0.5}", 400,
      "\"param\":\"presence_penalty\"" },
    { TALK, "{}", 400, "\"param\":\"messages\"" },
    { TALK, "{\"messages\": []}", 400, "messages has 0 entries" },
    { TALK, "{\"messages\": [1]}", 400, "messages[0]" },
    { TALK, "{\"messages\": [{\"role\": \"x\", \"content\": \"\"}]}", 400,
      "messages[0].role" },
    { TALK, "{\"messages\": [" U "\"<|image|>\"}]}", 400, "placeholder" },
    { TALK, CHAT ", \"top_logprobs\": 1}", 400, "\"param\":\"top_logprobs\"" },
    { TALK, CHAT ", \"tool_choice\": \"required\"}", 400,
      "\"param\":\"tool_choice\"" },
    { TALK, CHAT ", \"tools\": [{}]}", 400, "tools[0]" },
    { TALK, CHAT ", \"response_format\": {\"type\": \"json_object\"}}", 400,
      "\"param\":\"response_format\"" },
    { TALK, CHAT ", \"chat_template_kwargs\": {\"x\": 1}}", 400,
      "\"param\":\"chat_template_kwargs\"" },
    { TALK, PIC "\"golden/tiny/mini/row.png\"}]}]}", 400, "expected an address" },
    { TALK, PIC "{\"url\": \"file:///etc/passwd\"}}]}]}", 400,
      "expected an address" },
    { TALK, PIC "{\"url\": \"http://x/y.png\"}}]}]}", 400, "expected an address" },
    { TALK, PIC "{\"url\": \"data:image/png;base64,a\"}}]}]}", 400, "base64" },
    { TALK, PIC "{\"url\": \"data:image/png;base64,AAAA\"}}]}]}", 400, "media" },
    { TALK, "{\"messages\": [" U "[{\"type\": \"image\"}]}]}", 400,
      "media part 1" },
    { TALK, "{\"messages\": [" U "[{\"type\": \"image\", \"path\": \"0\"}]}]}", 400,
      "content[0].path" },
    { TALK, "{\"messages\": [" U "[{\"type\": \"input_audio\", \"input_audio\": "
      "{\"data\": \"AAAA\", \"format\": \"wav\"}}]}]}", 400, "media" },
    { TALK, "{\"messages\": [" U "\"x\"}, {\"role\": \"assistant\", \"content\": "
      "null, \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": \"{\"}}]}]}", 400,
      "arguments" },
    { "/tokenize", "{\"prompt\": [\"x\"]}", 400, "\"param\":\"prompt\"" },
    { "/detokenize", "{\"tokens\": \"x\"}", 400, "\"param\":\"tokens\"" },
    { "/detokenize", "{\"tokens\": [99999999]}", 400, "\"param\":\"tokens\"" },
    { "/v1/embeddings", "{}", 404, "nothing at this address" },
    { "/health", "{}", 405, "only GET" },
};

START_TEST(what_is_wrong_is_said)
{
    if (!serve_runnable()) return;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int status = serve_post(wrong[i].path, wrong[i].body);
        ck_assert_msg(status == wrong[i].status && strstr(serve_body, wrong[i].says),
                      "%s: %d %.300s", wrong[i].body, status, serve_body);
        json_t *j = json_loads(serve_body, 0, NULL);
        ck_assert_ptr_nonnull(serve_text(j, "error.message"));
        ck_assert_ptr_nonnull(serve_text(j, "error.type"));
        ck_assert_ptr_null(strstr(serve_body, "/proc"));
        json_decref(j);
    }
    ck_assert_int_eq(serve_request("GET", "/v1/completions", "", "", 0), 405);
    ck_assert_int_eq(serve_request("DELETE", "/health", "", "", 0), 405);
}
END_TEST

/* A page in a browser on this machine, or a name that was made to mean this machine. */
START_TEST(others_pages_are_refused)
{
    static const char ok[] = "{\"prompt\": \"a\"}";
    static const struct { const char *headers; int status; } rows[] = {
        { "Host: 127.0.0.1:80\r\n", 200 }, { "Host: localhost\r\n", 200 },
        { "Host: evil.example\r\n", 403 }, { "Host: localhost.evil.example\r\n", 403 },
        { "Host: localhost\r\nOrigin: http://localhost:3000\r\n", 200 },
        { "Host: localhost\r\nOrigin: http://evil.example\r\n", 403 },
        { "Host: localhost\r\nOrigin: null\r\n", 403 },
    };
    if (!serve_runnable()) return;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_int_eq(serve_request("POST", "/tokenize", rows[i].headers, ok, sizeof ok - 1),
                         rows[i].status);
}
END_TEST

START_TEST(too_much_is_refused)
{
    static char big[(1 << 20) + 100];
    if (!serve_runnable()) return;
    size_t n = (size_t)snprintf(big, sizeof big, "{\"prompt\": \"");
    memset(big + n, 'a', sizeof big - n);
    ck_assert_int_eq(serve_request("POST", "/tokenize", "", big, sizeof big), 413);
    memcpy(big, CHAT, sizeof CHAT - 1);
    memset(big + sizeof CHAT - 1, ' ', sizeof big - sizeof CHAT);
    ck_assert_int_eq(serve_request("POST", "/v1/chat/completions", "", big, sizeof big), 400);
    ck_assert_ptr_nonnull(strstr(serve_body, "more than 1048576 bytes"));
    int fd = serve_dial();
    serve_ask(fd, "POST", "/v1/chat/completions", "", "", 0);
    close(fd);
    fd = serve_dial();   /* only announced */
    static const char head[] = "POST /v1/chat/completions HTTP/1.0\r\n"
                               "Content-Length: 99999999999\r\n\r\n";
    serve_put(fd, head, sizeof head - 1);
    ck_assert_int_eq(serve_hear(fd), 413);
}
END_TEST

/* ---- log-probabilities ---- */

/* Those of our own forward pass of the ids: of each token but the first, and the likeliest's. */
static void own_logprobs(const int32_t *ids, int64_t n, double *token, double *best)
{
    g4_options o = { .model = MODEL, .threads = 1 };
    g4_runtime rt;
    g4_engine *e;
    g4_session *s;
    g4_err err;
    ck_assert_int_eq(g4_runtime_open(&rt, &o, G4_DRAFT_NONE, &err), G4_OK);
    g4_engine_plan plan = rt.plan;
    plan.rows = plan.ctx = plan.logit_rows = n;
    ck_assert_int_eq(g4_engine_open(&e, rt.model, &rt.ops, rt.par, &plan, &err), G4_OK);
    ck_assert_int_eq(g4_session_open(&s, e, &err), G4_OK);
    int64_t V = rt.model->config.vocab_size;
    float *logits = malloc((size_t)(n * V) * sizeof *logits);
    int32_t positions[256];
    ck_assert_ptr_nonnull(logits);
    for (int i = 0; i < n; i++) positions[i] = i;
    g4_item item = { .session = s, .n = n, .ids = ids, .positions = positions, .logit_rows = n,
                     .logits = logits };
    g4_forward(e, &item, 1);
    for (int64_t i = 0; i + 1 < n; i++) {
        g4_log_norm norm = g4_log_norm_of(logits + i * V, V);
        token[i + 1] = g4_log_prob_at(&norm, logits[i * V + ids[i + 1]]);
        best[i + 1] = g4_log_prob_at(&norm, logits[i * V + norm.best]);
    }
    free(logits);
    g4_session_close(s);
    g4_engine_close(e);
    g4_runtime_close(&rt);
}

static double largest(json_t *map)
{
    double most = -1e30;
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v) most = json_real_value(v) > most ? json_real_value(v) : most;
    return most;
}

/* One text of many that begin alike: some share everything, some nothing. */
static void hold_echo(uint64_t seed, int n)
{
    int32_t ids[256] = { 2 };
    double token[256], best[256];
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        if (i) ids[i] = 20 + (int32_t)(g4_rng_unit(i < n / 2 ? 1 : seed, 0, (uint64_t)i) * 500);
        json_array_append_new(list, json_integer(ids[i]));
    }
    own_logprobs(ids, n, token, best);
    json_t *j = json_pack("{s:o, s:i, s:i, s:b, s:i, s:i}", "prompt", list, "max_tokens", 1,
                          "logprobs", (int)(seed % 3) + 1, "echo", 1, "temperature", 0, "seed",
                          1234);
    char *data = json_dumps(j, 0);
    json_t *a = serve_answer("/v1/completions", data);
    json_t *values = serve_at(a, "choices.0.logprobs.token_logprobs");
    json_t *tops = serve_at(a, "choices.0.logprobs.top_logprobs");
    ck_assert_uint_eq(json_array_size(values), (size_t)n + 1);
    ck_assert_uint_eq(json_array_size(serve_at(a, "choices.0.logprobs.tokens")), (size_t)n + 1);
    ck_assert_uint_eq(json_array_size(serve_at(a, "choices.0.logprobs.text_offset")),
                      (size_t)n + 1);
    ck_assert(json_is_null(json_array_get(values, 0)) && json_is_null(json_array_get(tops, 0)));
    for (int i = 1; i < n; i++) {
        double v = json_real_value(json_array_get(values, (size_t)i));
        double most = largest(json_array_get(tops, (size_t)i));
        ck_assert_msg(v == token[i], "place %d: %.17g, ours %.17g", i, v, token[i]);
        ck_assert_msg(most == best[i], "place %d: likeliest %.17g, ours %.17g", i, most, best[i]);
    }
    free(data);
    json_decref(j);
    json_decref(a);
}

START_TEST(echoed_logprobs_are_evals)
{
    if (!serve_runnable()) return;
    for (uint64_t seed = 1; seed < 12; seed++) hold_echo(seed / 2, 5 + (int)(seed % 4) * 60);
}
END_TEST

static long cached(json_t *a)
{
    return (long)json_integer_value(serve_at(a, "usage.prompt_tokens_details.cached_tokens"));
}

/* The same tokens as text and as ids, alone and in a list. */
START_TEST(ids_are_their_text)
{
    static const char tail[] = ", \"max_tokens\": 9, \"logprobs\": 2, \"temperature\": 0}";
    char data[2048];
    if (!serve_runnable()) return;
    json_t *t = serve_answer("/tokenize", "{\"prompt\": \"a tiny text\"}");
    char *ids = json_dumps(serve_at(t, "tokens"), JSON_COMPACT);
    snprintf(data, sizeof data, "{\"prompt\": \"a tiny text\"%s", tail);
    json_t *a = serve_answer("/v1/completions", data);
    snprintf(data, sizeof data, "{\"prompt\": %s%s", ids, tail);
    json_t *b = serve_answer("/v1/completions", data);
    ck_assert(json_equal(serve_at(a, "choices"), serve_at(b, "choices")));
    ck_assert_int_gt(cached(b), 0);
    snprintf(data, sizeof data, "{\"prompt\": [%s, [2, 30, 31], %s]%s", ids, ids, tail);
    json_t *c = serve_answer("/v1/completions", data);
    ck_assert_uint_eq(json_array_size(serve_at(c, "choices")), 3);
    for (int i = 0; i < 3; i++) {
        json_t *one = json_array_get(serve_at(c, "choices"), (size_t)i);
        ck_assert_int_eq(json_integer_value(serve_at(one, "index")), i);
        json_object_set_new(one, "index", json_integer(0));
        ck_assert_int_eq(json_equal(one, serve_at(a, "choices.0")), i != 1);
    }
    free(ids);
    json_decref(t);
    json_decref(a);
    json_decref(b);
    json_decref(c);
}
END_TEST

/* With --bos-ids, ids without a <bos> have the figures of those with one, and do not show it. */
START_TEST(ids_get_a_bos)
{
    static const char tail[] = ", \"max_tokens\": 1, \"logprobs\": 1, \"echo\": true, "
                               "\"temperature\": 0}";
    static const char *const members[] = { "tokens", "token_logprobs", "top_logprobs" };
    char data[300];
    if (!serve_runnable()) return;
    snprintf(data, sizeof data, "{\"prompt\": [[2, 30, 31, 40], [30, 31, 40]]%s", tail);
    json_t *a = serve_answer("/v1/completions", data);
    for (int m = 0; m < 3; m++) {
        char with[64], without[64];
        snprintf(with, sizeof with, "choices.0.logprobs.%s", members[m]);
        snprintf(without, sizeof without, "choices.1.logprobs.%s", members[m]);
        json_t *left = serve_at(a, with);
        json_array_remove(left, 0);
        ck_assert_uint_eq(json_array_size(left), 4);
        ck_assert(json_equal(left, serve_at(a, without)));
    }
    ck_assert_str_eq(strchr(serve_text(a, "choices.0.text"), '>') + 1,
                     serve_text(a, "choices.1.text"));
    json_decref(a);
}
END_TEST

/* ---- texts ---- */

#define LONG "{\"prompt\": \"a tiny text\", \"max_tokens\": 40, \"ignore_eos\": true, \"seed\": 5"

START_TEST(streams_say_the_same)
{
    static char joined[1 << 16], first[1 << 16];
    if (!serve_runnable()) return;
    json_t *a = serve_answer("/v1/completions", LONG ", \"echo\": true}");
    ck_assert_int_eq(serve_post("/v1/completions", LONG ", \"echo\": true, \"stream\": true}"),
                     200);
    serve_join(joined, sizeof joined, "text");
    ck_assert_str_eq(joined, serve_text(a, "choices.0.text"));
    ck_assert_ptr_eq(strstr(joined, "a tiny text"), joined);
    json_decref(a);
    a = serve_answer("/v1/chat/completions", CHAT ", \"max_tokens\": 30, \"seed\": 7}");
    ck_assert_int_eq(serve_post("/v1/chat/completions",
                          CHAT ", \"max_tokens\": 30, \"seed\": 7, \"stream\": true}"), 200);
    strcpy(first, serve_body);
    serve_join(joined, sizeof joined, "content");
    ck_assert_str_eq(joined, serve_text(a, "choices.0.message.content"));
    strcpy(serve_body, first);
    serve_join(joined, sizeof joined, "role");
    ck_assert_str_eq(joined, "assistant");
    json_decref(a);
}
END_TEST

/* Answers of n are those that their seeds would give alone. */
START_TEST(several_answers)
{
    char data[300];
    if (!serve_runnable()) return;
    json_t *a = serve_answer("/v1/completions", LONG ", \"n\": 3}");
    ck_assert_uint_eq(json_array_size(serve_at(a, "choices")), 3);
    for (int i = 0; i < 3; i++) {
        snprintf(data, sizeof data, "{\"prompt\": \"a tiny text\", \"max_tokens\": 40, "
                 "\"ignore_eos\": true, \"seed\": %d}", 5 + i);
        json_t *b = serve_answer("/v1/completions", data);
        json_t *one = json_array_get(serve_at(a, "choices"), (size_t)i);
        ck_assert_str_eq(serve_text(b, "choices.0.text"), serve_text(one, "text"));
        json_decref(b);
    }
    ck_assert_str_ne(serve_text(a, "choices.0.text"), serve_text(a, "choices.1.text"));
    json_decref(a);
}
END_TEST

/* A stop text that lies in the answer, wherever: the answer ends before its first place, and
 * no byte of it is streamed. */
START_TEST(stop_texts)
{
    static char joined[1 << 16];
    if (!serve_runnable()) return;
    json_t *a = serve_answer("/v1/completions", LONG "}");
    const char *whole = serve_text(a, "choices.0.text");
    size_t len = strlen(whole);
    ck_assert_uint_gt(len, 20);
    for (size_t from = 3; from + 6 < len; from += 7) {
        char stop[7] = "", want[1000];
        if ((whole[from] & 0xc0) == 0x80 || (whole[from + 6] & 0xc0) == 0x80) continue;
        memcpy(stop, whole + from, 6);
        size_t cut = (size_t)(strstr(whole, stop) - whole);
        snprintf(want, sizeof want, "%.*s", (int)cut, whole);
        for (int stream = 0; stream < 2; stream++) {
            json_t *q = json_loads(LONG "}", 0, NULL);
            json_object_set_new(q, "stop", json_pack("[s, s]", "never that", stop));
            json_object_set_new(q, "stream", json_boolean(stream));
            char *data = json_dumps(q, 0);
            json_t *b = stream ? NULL : serve_answer("/v1/completions", data);
            if (stream) {
                ck_assert_int_eq(serve_post("/v1/completions", data), 200);
                serve_join(joined, sizeof joined, "text");
            }
            ck_assert_str_eq(stream ? joined : serve_text(b, "choices.0.text"), want);
            if (!stream) ck_assert_str_eq(serve_text(b, "choices.0.finish_reason"), "stop");
            free(data);
            json_decref(b);
            json_decref(q);
        }
    }
    json_decref(a);
}
END_TEST

static program_result r;

static json_t *generated(const char *command)
{
    const program_place none[] = { { NULL, NULL } };
    program_run(&r, command, none, NULL, RLIM_INFINITY);
    ck_assert_msg(r.code == 0, "%s", r.err);
    return json_loads(r.out, 0, NULL);
}

START_TEST(completions_are_generates)
{
    if (!serve_runnable()) return;
    json_t *a = serve_answer("/v1/completions",
                             "{\"prompt\": \"tiny\", \"max_tokens\": 30, \"seed\": 9}");
    json_t *b = generated("generate --model " MODEL " --prompt tiny --max-tokens 30 --seed 9 "
                          "--threads 1 --json");
    ck_assert_str_eq(serve_text(a, "choices.0.text"), serve_text(b, "text"));
    json_decref(a);
    json_decref(b);
}
END_TEST

/* ---- media ---- */

/* Written here anew: the server only reads base64. */
static char *base64_of(const char *path)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t *data;
    size_t size, n = 0;
    ck_assert_int_eq(g4_file_read(path, 1 << 20, &data, &size, NULL), G4_OK);
    char *out = calloc(1, size * 2 + 8);
    for (size_t i = 0; i < size; i += 3) {
        uint32_t w = (uint32_t)data[i] << 16;
        if (i + 1 < size) w |= (uint32_t)data[i + 1] << 8;
        if (i + 2 < size) w |= data[i + 2];
        for (int k = 3; k >= 0; k--) out[n++] = digits[w >> 6 * k & 63];
        if (i + 2 >= size) out[n - 1] = '=';
        if (i + 1 >= size) out[n - 2] = '=';
    }
    free(data);
    return out;
}

static json_t *data_part(const char *type, const char *before, const char *path)
{
    char *code = base64_of(path);
    char *url = malloc(strlen(code) + 64);
    sprintf(url, "%s%s", before, code);
    json_t *part = strcmp(type, "input_audio") == 0
                       ? json_pack("{s:s, s:{s:s, s:s}}", "type", type, type, "data", url,
                                   "format", "wav")
                       : json_pack("{s:s, s:{s:s}}", "type", type, type, "url", url);
    free(code);
    free(url);
    return part;
}

/* A picture, a sound and a picture inside the request, and the same as files of `generate`. */
START_TEST(media_in_a_request)
{
    static const char picture[] = "data:image/png;base64,";
    char dir[TEMPDIR_MAX], cwd[256], file[2048], command[1024];
    if (!serve_runnable()) return;
    json_t *parts = json_array();
    json_array_append_new(parts, data_part("image_url", picture, "golden/tiny/mini/row.png"));
    json_array_append_new(parts, json_pack("{s:s, s:s}", "type", "text", "text", "and"));
    json_array_append_new(parts, data_part("input_audio", "", "golden/tiny/mini/two.wav"));
    json_array_append_new(parts, data_part("image_url", picture, "golden/tiny/mini/column.png"));
    json_t *q = json_pack("{s:[{s:s, s:o}], s:i, s:i}", "messages", "role", "user", "content",
                          parts, "max_tokens", 20, "seed", 4);
    char *data = json_dumps(q, 0);
    json_t *a = serve_answer("/v1/chat/completions", data);
    tempdir_make(dir);
    ck_assert_ptr_nonnull(getcwd(cwd, sizeof cwd));
    int n = snprintf(file, sizeof file, "[{\"role\": \"user\", \"content\": ["
        "{\"type\": \"image\", \"path\": \"%s/golden/tiny/mini/row.png\"}, "
        "{\"type\": \"text\", \"text\": \"and\"}, "
        "{\"type\": \"audio\", \"path\": \"%s/golden/tiny/mini/two.wav\"}, "
        "{\"type\": \"image\", \"path\": \"%s/golden/tiny/mini/column.png\"}]}]", cwd, cwd, cwd);
    tempdir_write(dir, "chat.json", file, (size_t)n);
    snprintf(command, sizeof command, "generate --model " MODEL " --chat %s/chat.json --seed 4 "
             "--max-tokens 20 --threads 1 --json", dir);
    json_t *b = generated(command);
    ck_assert_str_eq(serve_text(a, "choices.0.message.content"), serve_text(b, "text"));
    tempdir_remove(dir);
    free(data);
    json_decref(q);
    json_decref(a);
    json_decref(b);
}
END_TEST

START_TEST(base64)
{
    static const struct { const char *code, *text; } good[] = {   /* RFC 4648, section 10 */
        { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYmE=", "fooba" },
    };
    static const char *const bad[] = { "", "Z", "Zg=", "Zg===", "Z===", "Zh==", "Zm9=", "Zm 9",
                                       "Zg==Zg==", "Zm9v\n", "Zm-_", "====", "Zm9vY" };
    uint8_t *data;
    size_t size;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_int_eq(g4_base64_decode(good[i].code, strlen(good[i].code), &data, &size), 1);
        ck_assert_uint_eq(size, strlen(good[i].text));
        ck_assert_mem_eq(data, good[i].text, size);
        free(data);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(g4_base64_decode(bad[i], strlen(bad[i]), &data, &size) == 0, "%s", bad[i]);
}
END_TEST

/* ---- tools: the trained miniature calls them ---- */

START_TEST(calls_of_tools)
{
    json_t *first = NULL;
    FILE *f = fopen("golden/miniature/eval/tools.jsonl", "r");
    ck_assert_ptr_nonnull(f);
    first = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL);
    fclose(f);
    if (!serve_runnable()) return;
    json_t *q = json_pack("{s:[{s:s, s:O}], s:O, s:i, s:i}", "messages", "role", "user", "content",
                          serve_at(first, "user"), "tools", serve_at(first, "tools"),
                          "temperature", 0, "max_tokens", 60);
    char *data = json_dumps(q, 0);
    json_t *a = serve_answer("/v1/chat/completions", data);
    ck_assert_str_eq(serve_text(a, "choices.0.finish_reason"), "tool_calls");
    ck_assert_str_eq(serve_text(a, "choices.0.message.tool_calls.0.function.name"),
                     serve_text(first, "name"));
    json_t *args = json_loads(serve_text(a, "choices.0.message.tool_calls.0.function.arguments"), 0,
                              NULL);
    ck_assert(json_equal(args, serve_at(first, "arguments")));
    /* The call goes back as it came, with a result behind it. */
    json_t *messages = serve_at(q, "messages");
    json_array_append(messages, serve_at(a, "choices.0.message"));
    json_array_append_new(messages, json_pack("{s:s, s:O, s:s}", "role", "tool", "tool_call_id",
                                              serve_at(a, "choices.0.message.tool_calls.0.id"),
                                              "content", "done"));
    free(data);
    data = json_dumps(q, 0);
    json_t *b = serve_answer("/v1/chat/completions", data);
    ck_assert_int_gt(cached(b), 50);
    free(data);
    json_decref(args);
    json_decref(first);
    json_decref(q);
    json_decref(a);
    json_decref(b);
}
END_TEST

/* ---- clients that misbehave ---- */

static long metric(const char *name)
{
    ck_assert_int_eq(serve_request("GET", "/metrics", "", "", 0), 200);
    const char *p = strstr(serve_body, name);
    while (p && p > serve_body && p[-1] != '\n') p = strstr(p + 1, name);
    ck_assert_msg(p != NULL, "%s", serve_body);
    return atol(p + strlen(name));
}

#define ENDLESS "{\"prompt\": \"a\", \"max_tokens\": 8000, \"ignore_eos\": true"

/* One that hangs up is not computed for any longer: those behind it are served. */
START_TEST(dropped_clients)
{
    static const char *const bodies[] = { ENDLESS "}", ENDLESS ", \"stream\": true}" };
    if (!serve_runnable()) return;
    for (int i = 0; i < 2; i++) {
        int fd = serve_dial(), waiting = serve_dial();
        serve_ask(fd, "POST", "/v1/completions", "", bodies[i], strlen(bodies[i]));
        serve_ask(waiting, "POST", "/v1/completions", "", bodies[i], strlen(bodies[i]));
        usleep(100000);
        close(waiting);
        close(fd);
        json_decref(serve_answer("/v1/completions", "{\"prompt\": \"b\", \"max_tokens\": 3}"));
    }
    ck_assert_int_lt(metric("gemma4_generated_tokens_total "), 16000);
    ck_assert_int_eq(metric("gemma4_requests_waiting "), 0);
}
END_TEST

/* The end comes in the middle of an answer, with others waiting. */
START_TEST(ends_while_it_answers)
{
    if (!serve_runnable()) return;
    for (int i = 0; i < 3; i++) {
        static const char *const bodies[] = { ENDLESS "}", ENDLESS ", \"stream\": true}",
                                              ENDLESS "}" };
        serve_ask(serve_dial(), "POST", "/v1/completions", "", bodies[i], strlen(bodies[i]));
    }
    usleep(50000);
}
END_TEST

/* 10 seconds of silence are the client's fault before a request is whole, not after. */
static void try_patience(void)
{
    int silent = serve_dial(), waiting = serve_dial();
    serve_ask(waiting, "POST", "/v1/completions", "", ENDLESS "}", strlen(ENDLESS "}"));
    serve_put(silent, "POST /tokenize HTTP/1.0\r\nContent-Length: 5\r\n\r\n{", 48);
    usleep(100000);
    kill(serve_pid, SIGSTOP);
    sleep(11);
    kill(serve_pid, SIGCONT);
    char byte;
    ck_assert_int_le(recv(silent, &byte, 1, 0), 0);
    close(silent);
    ck_assert_int_eq(serve_hear(waiting), 200);
}

/* ---- rubbish ---- */

static size_t pick(uint64_t seed, uint64_t i, size_t n)
{
    return (size_t)(g4_rng_unit(seed, 0, i) * (double)n);
}

/* A good request with some bytes changed, doubled or lost; or one that is no HTTP. */
static void send_rubbish(uint64_t seed)
{
    static const char *const paths[] = { "/v1/completions", "/v1/chat/completions", "/tokenize",
                                         "/detokenize" };
    static const char *const seeds[] = {
        "{\"prompt\": [2, 30], \"max_tokens\": 1, \"logprobs\": 1, \"echo\": true, \"seed\": 1}",
        CHAT ", \"max_tokens\": 1, \"stream\": true, \"stop\": [\"a\", \"b\"]}",
        "{\"prompt\": \"abc\", \"add_special_tokens\": false}", "{\"tokens\": [5, 6, 7]}",
    };
    static const char alphabet[] = "{}[]\",:-0123456789.eE+\\utrfalsn \x80\xff\x01";
    char data[400];
    size_t kind = pick(seed, 0, 4), n = strlen(seeds[kind]);
    memcpy(data, seeds[kind], n);
    for (uint64_t k = 1 + pick(seed, 1, 4); k-- > 0;) {
        size_t where = pick(seed, 4 * k + 2, n), how = pick(seed, 4 * k + 3, 3);
        if (how == 0) data[where] = alphabet[pick(seed, 4 * k + 4, sizeof alphabet - 1)];
        if (how == 1) memmove(data + where, data + where + 1, --n - where);
        if (how == 2 && n < 300) {
            memmove(data + where + 1, data + where, n - where);
            n++;
        }
    }
    int fd = serve_dial();
    if (pick(seed, 30, 10) > 0)
        serve_ask(fd, "POST", paths[pick(seed, 31, 8) ? kind : pick(seed, 32, 4)], "", data, n);
    else
        serve_put(fd, data, n);
    shutdown(fd, SHUT_WR);   /* else half of one would be waited for */
    int status = serve_hear(fd);
    ck_assert_msg(status < 500 || status == 503, "%d to %.*s", status, (int)n, data);
}

/* Meanwhile another server is asleep, for a client's patience. */
START_TEST(patience_and_ten_thousand_wrong_requests)
{
    if (!serve_runnable()) return;
    pid_t other = fork();
    ck_assert_int_ge(other, 0);
    if (other == 0) {
        start();
        try_patience();
        serve_stop();
        _exit(0);
    }
    for (uint64_t i = 0; i < 10000; i++) send_rubbish(i);
    ck_assert_int_eq(serve_request("GET", "/health", "", "", 0), 200);
    ck_assert_int_eq(program_finish(other), 0);
}
END_TEST

START_TEST(some_wrong_requests)
{
    if (!serve_runnable()) return;
    for (uint64_t i = 0; i < 300; i++) send_rubbish(i + 20000);
    ck_assert_int_eq(serve_request("GET", "/health", "", "", 0), 200);
}
END_TEST

Suite *check_serve(void)
{
    Suite *s = suite_create("serve");
    TCase *t = tcase_create("requests");
    tcase_set_tags(t, "tiny");
    tcase_add_checked_fixture(t, start, serve_stop);
    tcase_add_test(t, small_answers);
    tcase_add_test(t, what_is_wrong_is_said);
    tcase_add_test(t, others_pages_are_refused);
    tcase_add_test(t, too_much_is_refused);
    tcase_add_test(t, echoed_logprobs_are_evals);
    tcase_add_test(t, ids_are_their_text);
    tcase_add_test(t, streams_say_the_same);
    tcase_add_test(t, several_answers);
    tcase_add_test(t, stop_texts);
    tcase_add_test(t, completions_are_generates);
    tcase_add_test(t, media_in_a_request);
    tcase_add_test(t, dropped_clients);
    tcase_add_test(t, ends_while_it_answers);
    tcase_add_test(t, some_wrong_requests);
    suite_add_tcase(s, t);
    t = tcase_create("bos");
    tcase_set_tags(t, "tiny");
    tcase_add_checked_fixture(t, start_bos, serve_stop);
    tcase_add_test(t, ids_get_a_bos);
    suite_add_tcase(s, t);
    t = tcase_create("trained");
    tcase_set_tags(t, "tiny");
    tcase_add_checked_fixture(t, start_trained, serve_stop);
    tcase_add_test(t, calls_of_tools);
    suite_add_tcase(s, t);
    t = tcase_create("parts");
    tcase_set_tags(t, "unit");
    tcase_add_test(t, base64);
    suite_add_tcase(s, t);
    t = tcase_create("slow");
    tcase_set_tags(t, "slow");
    tcase_add_checked_fixture(t, start, serve_stop);
    tcase_set_timeout(t, 600);   /* a tenth of that, but for what else the machine does */
    tcase_add_test(t, patience_and_ten_thousand_wrong_requests);
    suite_add_tcase(s, t);
    return s;
}
