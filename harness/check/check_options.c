/* SPDX-License-Identifier: Apache-2.0
 * The command line parser: every kind of option, every fault, and that cmd.def
 * and the option table fit each other.  Also the text helpers of the frame. */
#include "harness/options.h"
#include "harness/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *check_options(void);

/* A command that takes everything; nothing is required. */
static const char everything[] =
    "model,draft,mmproj,inputs,prompt,chat,ids,text,image,audio,video,image-tokens,audio-limit,"
    "thinking,tools,bos,no-special,mask,engine,isa,threads,chunk,ctx,kv,detail,max-tokens,"
    "temperature,top-k,top-p,seed,ignore-eos,max-draft,memory,kernels,fill-random,resume,shape,"
    "type,plot,out,o,json,args";

static g4_options o;
static g4_err err;

/* Splits line at blanks (a lone ~ is an empty word) and parses it for a command. */
static g4_status parse(const char *options, const char *line)
{
    static char words[4096];
    char *argv[2048];
    int argc = 0;
    g4_command_row row = { "test", "ARGS", options, "a command", NULL };
    ck_assert_uint_lt(strlen(line), sizeof words);
    strcpy(words, line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[argc++] = strcmp(w, "~") == 0 ? w + 1 : w;
    err = (g4_err){ G4_OK, "" };
    return g4_options_parse_row(&o, &row, argc, argv, &err);
}

START_TEST(stores_each_kind)
{
    ck_assert_int_eq(parse(everything, "--model DIR --json --threads 3 --seed 18446744073709551615 "
                           "--temperature 0.5 --top-p 1 --top-k 0 --mask hf-helper --thinking off "
                           "--image-tokens 560 --isa avx2,c --ids 2,17,5 -o csv --max-tokens=7"),
                     G4_OK);
    ck_assert_str_eq(o.command, "test");
    ck_assert_str_eq(o.model, "DIR");
    ck_assert_int_eq(o.json, 1);
    ck_assert_int_eq(o.memory, 0);
    ck_assert_int_eq(o.threads, 3);
    ck_assert_uint_eq(o.seed, UINT64_MAX);
    ck_assert(o.temperature == 0.5 && o.top_p == 1.0);
    ck_assert_int_eq(o.top_k, 0);
    ck_assert_str_eq(o.mask, "hf-helper");
    ck_assert_int_eq(o.thinking, 0);
    ck_assert_int_eq(o.image_tokens, 560);
    ck_assert_str_eq(o.isa, "avx2,c");
    ck_assert_str_eq(o.ids, "2,17,5");
    ck_assert_str_eq(o.format, "csv");
    ck_assert_int_eq(o.max_tokens, 7);
}
END_TEST

START_TEST(defaults_say_not_given)
{
    ck_assert_int_eq(parse(everything, ""), G4_OK);
    ck_assert_ptr_null(o.model);
    ck_assert_int_eq(o.thinking, -1);
    ck_assert_int_eq(o.threads, 0);
    ck_assert_int_eq(o.max_tokens, -1);
    ck_assert_int_eq(o.top_k, -1);
    ck_assert(o.temperature < 0 && o.top_p < 0 && o.audio_limit < 0);
    ck_assert_uint_eq(o.seed, 0);
    ck_assert_int_eq(o.media_count, 0);
    ck_assert_int_eq(o.arg_count, 0);
}
END_TEST

START_TEST(media_keep_their_order)
{
    ck_assert_int_eq(parse(everything, "--audio a.wav --image b.png --prompt x --image=c=d.png "
                           "--video v --audio a.wav"), G4_OK);
    static const g4_media_kind kinds[] = { G4_MEDIA_AUDIO, G4_MEDIA_IMAGE, G4_MEDIA_IMAGE,
                                           G4_MEDIA_VIDEO, G4_MEDIA_AUDIO };
    static const char *const paths[] = { "a.wav", "b.png", "c=d.png", "v", "a.wav" };
    ck_assert_int_eq(o.media_count, 5);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(o.media[i].kind, kinds[i]);
        ck_assert_str_eq(o.media[i].path, paths[i]);
    }
}
END_TEST

START_TEST(words_that_look_like_options)
{
    ck_assert_int_eq(parse(everything, "--prompt -5 --text=--json --tools -- a -- --json - -x"),
                     G4_OK);
    ck_assert_str_eq(o.prompt, "-5");
    ck_assert_str_eq(o.text, "--json");
    ck_assert_str_eq(o.tools, "--");   /* no option is called so: a file may be */
    ck_assert_int_eq(o.json, 0);
    ck_assert_int_eq(o.arg_count, 4);
    ck_assert_str_eq(o.args[0], "a");
    ck_assert_str_eq(o.args[1], "--json");
    ck_assert_str_eq(o.args[2], "-");
    ck_assert_str_eq(o.args[3], "-x");
    ck_assert_int_eq(parse(everything, "--prompt ~ --text= --chat -"), G4_OK);
    ck_assert_str_eq(o.prompt, "");
    ck_assert_str_eq(o.text, "");
    ck_assert_str_eq(o.chat, "-");
}
END_TEST

START_TEST(help_wins_over_what_is_missing)
{
    ck_assert_int_eq(parse("model!", "--help"), G4_OK);
    ck_assert_str_eq(o.command, "help");
    ck_assert_int_eq(o.arg_count, 1);
    ck_assert_str_eq(o.args[0], "test");
    ck_assert_int_eq(parse("model!", "--model a -h --nonsense"), G4_OK);
    ck_assert_str_eq(o.command, "help");
    ck_assert_ptr_null(o.model);
}
END_TEST

static const struct {
    const char *options, *line, *says;
} bad[] = {
    { everything, "--frobnicate", "--frobnicate: no such option (gemma4 help test lists them)" },
    { everything, "--frobnicate=3", "--frobnicate=3: no such option" },
    { everything, "-model x", "-model: no such option" },
    { everything, "--o md", "--o: no such option" },
    { "model", "--model a --json", "--json: not an option of test" },
    { everything, "--model", "--model: its value (MODEL) is missing" },
    { everything, "--model --json", "--model: its value (MODEL) is missing" },
    { everything, "--model ~", "--model '': expected MODEL" },
    { everything, "--model=", "--model '': expected MODEL" },
    { everything, "--image ~", "--image '': expected F" },
    { everything, "--json=1", "--json=1: takes no value" },
    { everything, "--json --json", "--json: given twice" },
    { everything, "--seed 1 --seed 1", "--seed: given twice" },
    { everything, "--threads 0", "--threads 0: expected a whole number, 1 to 1024" },
    { everything, "--threads 1025", "--threads 1025: expected" },
    { everything, "--threads -1", "--threads -1: expected" },
    { everything, "--threads +1", "--threads +1: expected" },
    { everything, "--threads 1.5", "--threads 1.5: expected" },
    { everything, "--threads 0x2", "--threads 0x2: expected" },
    { everything, "--threads 2x", "--threads 2x: expected" },
    { everything, "--threads ~", "--threads '': expected" },
    { everything, "--threads 99999999999999999999999", "--threads 99999999999999999999999: exp" },
    { everything, "--ctx 2147483648", "--ctx 2147483648: expected a whole number, 1 to 21474" },
    { everything, "--chunk 0", "--chunk 0: expected" },
    { everything, "--seed 18446744073709551616", "--seed 18446744073709551616: expected" },
    { everything, "--seed -1", "--seed -1: expected" },
    { everything, "--temperature nan", "--temperature nan: expected a number, 0 to 1000" },
    { everything, "--temperature inf", "--temperature inf: expected" },
    { everything, "--temperature -0.1", "--temperature -0.1: expected" },
    { everything, "--temperature 1e9", "--temperature 1e9: expected" },
    { everything, "--temperature 1e999", "--temperature 1e999: expected" },
    { everything, "--temperature 0x1p2", "--temperature 0x1p2: expected" },
    { everything, "--temperature 1,5", "--temperature 1,5: expected" },
    { everything, "--temperature e", "--temperature e: expected" },
    { everything, "--temperature ~", "--temperature '': expected" },
    { everything, "--top-p 1.0000001", "--top-p 1.0000001: expected a number, 0 to 1" },
    { everything, "--top-p 1.1", "--top-p 1.1: expected a number, 0 to 1" },
    { everything, "--audio-limit 0", "--audio-limit 0: expected" },
    { everything, "--mask hf", "--mask hf: expected official|hf-helper|hf-forward|causal" },
    { everything, "--mask official|hf-helper", "--mask official|hf-helper: expected" },
    { everything, "--kv F16", "--kv F16: expected f32|f16|q8_0" },
    { everything, "--thinking yes", "--thinking yes: expected on|off" },
    { everything, "--image-tokens 100", "--image-tokens 100: expected 70|140|280|560|1120" },
    { everything, "--bos ~", "--bos '': expected auto|on|off" },
    { everything, "--isa avx2,", "--isa avx2,: expected names separated by commas" },
    { everything, "--isa ,c", "--isa ,c: expected" },
    { everything, "--isa ~", "--isa '': expected" },
    { everything, "--isa a;b", "--isa a;b: expected" },
    { everything, "--ids 1,,2", "--ids: item 2 is '', expected a token id" },
    { everything, "--ids 1,2,", "--ids: item 3 is '', expected" },
    { everything, "--ids 1,-2", "--ids: item 2 is '-2', expected" },
    { everything, "--ids 2147483648", "--ids: item 1 is '2147483648', expected" },
    { everything, "--ids ~", "--ids: item 1 is '', expected" },
    { "model!,json", "--json", "test: --model MODEL is missing" },
    { "model!,out!", "--model a", "test: --out PATH is missing" },
    { "json", "a", "a: one argument too many; usage: gemma4 test ARGS" },
    { "json", "-- --json", "--json: one argument too many" },
    { "args:2", "a", "test: 1 file given, 2 needed" },
    { "args:2", "a b c", "c: one argument too many" },
    { "json,args:1+", "--json", "test: 0 files given, 1 needed" },
    { "args:0-1", "a b", "b: one argument too many" },
};

START_TEST(refuses)
{
    ck_assert_int_eq(parse(bad[_i].options, bad[_i].line), G4_EINPUT);
    ck_assert_int_eq(err.code, G4_EINPUT);
    if (strncmp(err.msg, bad[_i].says, strlen(bad[_i].says)) != 0)
        ck_abort_msg("'%s' said '%s', expected '%s'", bad[_i].line, err.msg, bad[_i].says);
    ck_assert_ptr_null(strchr(err.msg, '\n'));
}
END_TEST

START_TEST(counts_are_bounded)
{
    char line[4096] = "";
    for (int i = 0; i < G4_MAX_MEDIA; i++) strcat(line, "--image=f ");
    ck_assert_int_eq(parse(everything, line), G4_OK);
    strcat(line, "--video=g ");
    ck_assert_int_eq(parse(everything, line), G4_EINPUT);
    ck_assert_str_eq(err.msg, "--video g: more than 256 media files");
    line[0] = 0;
    for (int i = 0; i < G4_MAX_ARGS; i++) strcat(line, "f ");
    ck_assert_int_eq(parse("args:1+", line), G4_OK);
    ck_assert_int_eq(o.arg_count, G4_MAX_ARGS);
    strcat(line, "g ");
    ck_assert_int_eq(parse("args:1+", line), G4_EINPUT);
}
END_TEST

START_TEST(ids)
{
    g4_arena a = { NULL };
    int32_t *list;
    int64_t n;
    ck_assert_int_eq(g4_ids_parse("0,262143,2147483647", &a, &list, &n, &err), G4_OK);
    ck_assert_int_eq(n, 3);
    ck_assert_int_eq(list[0], 0);
    ck_assert_int_eq(list[1], 262143);
    ck_assert_int_eq(list[2], INT32_MAX);
    g4_arena_free(&a);
}
END_TEST

static g4_status whole(int argc, const char *a, const char *b)
{
    char first[64] = "", second[64] = "";
    snprintf(first, sizeof first, "%s", a);
    snprintf(second, sizeof second, "%s", b);
    char *argv[] = { first, first, second, NULL };
    err = (g4_err){ G4_OK, "" };
    return g4_options_parse(&o, argc, argv, &err);
}

START_TEST(commands)
{
    ck_assert_int_eq(whole(1, "", ""), G4_EINPUT);
    ck_assert_int_eq(strncmp(err.msg, "usage: ", 7), 0);
    ck_assert_int_eq(whole(2, "frobnicate", ""), G4_EINPUT);
    ck_assert_str_eq(err.msg, "frobnicate: no such command (gemma4 help lists them)");
    ck_assert_int_eq(whole(2, "--json", ""), G4_EINPUT);
    ck_assert_str_eq(err.msg, "--json: the command comes first (gemma4 help)");
    ck_assert_int_eq(whole(2, "--help", ""), G4_OK);
    ck_assert_str_eq(o.command, "help");
    ck_assert_int_eq(o.arg_count, 0);
    ck_assert_int_eq(whole(3, "info", "-h"), G4_OK);
    ck_assert_str_eq(o.command, "help");
    ck_assert_str_eq(o.args[0], "info");
}
END_TEST

/* A name in cmd.def that the option table has not would be an option nobody can
 * give; an option no command takes is dead. */
START_TEST(tables_fit)
{
    const g4_command_row *row, *found;
    const g4_option *opt;
    ck_assert_ptr_nonnull(g4_command_at(0));
    for (size_t c = 0; (row = g4_command_at(c)) != NULL; c++) {
        char list[1024], *save = NULL;
        ck_assert(*row->summary && row->run);
        ck_assert_int_eq(g4_command_find(&found, row->name, &err), G4_OK);
        ck_assert_ptr_eq(found, row);
        ck_assert_uint_lt(strlen(row->options), sizeof list);
        strcpy(list, row->options);
        for (char *name = strtok_r(list, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
            int known = strcmp(name, "args") == 0 || strncmp(name, "args:", 5) == 0;
            name[strcspn(name, "!")] = 0;
            for (size_t i = 0; !known && (opt = g4_option_at(i)) != NULL; i++)
                known = strcmp(opt->name, name) == 0;
            if (!known) ck_abort_msg("cmd.def, %s: option %s is not in the table", row->name, name);
        }
    }
    for (size_t i = 0; (opt = g4_option_at(i)) != NULL; i++) {
        ck_assert(*opt->help);
        ck_assert_str_eq(g4_option_dashes(opt), opt->name[1] ? "--" : "-");
        for (size_t k = 0; k < i; k++) ck_assert_str_ne(opt->name, g4_option_at(k)->name);
    }
}
END_TEST

START_TEST(text_is_made_safe)
{
    static const struct {
        const char *in, *out;
    } t[] = {
        { "plain \xc3\xa9 \xe4\xbd\xa0 \xf0\x9f\x98\x80",
          "plain \xc3\xa9 \xe4\xbd\xa0 \xf0\x9f\x98\x80" },
        { "\x1b[31m", "\\x1b[31m" },
        { "a\nb\tc\x7f", "a\\x0ab\\x09c\\x7f" },
        { "\xc2\x9b" "2J", "\\xc2\\x9b2J" },         /* U+009B: CSI in one character */
        { "\xff\xc3", "\\xff\\xc3" },
        { "\xc0\x80 \xe0\x80\x80", "\\xc0\\x80 \\xe0\\x80\\x80" },   /* overlong */
        { "\xed\xa0\x80", "\\xed\\xa0\\x80" },       /* a surrogate */
        { "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },   /* past U+10FFFF */
    };
    char buf[64];
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        ck_assert_str_eq(g4_text_safe(buf, sizeof buf, t[i].in), t[i].out);
    /* Cut, never over the end, never inside an escape. */
    for (size_t size = 8; size < 40; size++) {
        memset(buf, 'Z', sizeof buf);
        g4_text_safe(buf, size, "ab\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b");
        ck_assert_uint_lt(strlen(buf), size);
        ck_assert_uint_eq((strlen(buf) - 2) % 4, 0);
        ck_assert_int_eq(buf[size], 'Z');
    }
    ck_assert_str_eq(g4_text_bytes(buf, sizeof buf, 999), "999 B");
    ck_assert_str_eq(g4_text_bytes(buf, sizeof buf, 23894812672u), "23.89 GB");
    ck_assert_str_eq(g4_text_bytes(buf, sizeof buf, UINT64_MAX), "18.45 EB");
}
END_TEST

Suite *check_options(void)
{
    Suite *s = suite_create("options");
    TCase *t = tcase_create("options");
    tcase_set_tags(t, "unit");
    tcase_add_test(t, stores_each_kind);
    tcase_add_test(t, defaults_say_not_given);
    tcase_add_test(t, media_keep_their_order);
    tcase_add_test(t, words_that_look_like_options);
    tcase_add_test(t, help_wins_over_what_is_missing);
    tcase_add_loop_test(t, refuses, 0, (int)(sizeof bad / sizeof *bad));
    tcase_add_test(t, counts_are_bounded);
    tcase_add_test(t, ids);
    tcase_add_test(t, commands);
    tcase_add_test(t, tables_fit);
    tcase_add_test(t, text_is_made_safe);
    suite_add_tcase(s, t);
    return s;
}
