/* SPDX-License-Identifier: Apache-2.0
 * A tokenizer.json for any vocabulary size, in the shape that Gemma ships: BPE
 * with byte fallback, " " written as U+2581, added tokens for media and turns.
 * Ids, in order of precedence: special tokens where config.json wants them, the
 * other special tokens where the real vocabulary has them, then from id 0 up
 * 256 byte tokens, single characters, and all pairs, triples ... of these, each
 * with the one merge that makes it.  Nothing but the map of special ids is kept. */
#include "harness/synth.h"
#include "ref/base/map.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, MAX_SPECIAL = 32, MAX_PIECE = 64 };

/* Single characters, frequent ones first: their pairs come first. */
static const char *const letters[] = {
    "\xe2\x96\x81", "e", "t", "a", "o", "i", "n", "s", "h", "r", "d", "l", "c", "u", "m", "w", "f",
    "g", "y", "p", "b", "v", "k", "j", "x", "q", "z", "\\n", ".", ",", "0", "1", "2", "3", "4", "5",
    "6", "7", "8", "9", "T", "I", "A", "S", "W", "H", "B", "M", "C", "P", "D", "F", "R", "L", "N",
    "G", "E", "O", "J", "U", "K", "V", "Y", "Q", "X", "Z", "'", "\\\"", "-", "?", "!", ":", ";",
    "(", ")", "/", "_", "*", "#", "%", "&", "+", "=", "<", ">", "[", "]", "{", "}", "|", "@", "$",
    "^", "~", "`", "\\\\",   /* already escaped for JSON */
};

enum { LETTERS = sizeof letters / sizeof letters[0] };

typedef struct special {
    const char *text;   /* as JSON */
    int64_t id;         /* config.json's; -1: the config has no such token */
    int64_t usual;      /* without one in the config: its place in the real vocabulary; or -1 */
} special;

typedef struct vocab {
    special special[MAX_SPECIAL];
    int specials;
    int64_t size;
    uint8_t *at;        /* [size] index of the special token there, plus 1; 0: none */
} vocab;

static void list_special(vocab *v, const g4_config *c)
{
    const special list[] = {
        { "<pad>", c->pad_token_id, -1 },
        { "<eos>", c->eos_count ? c->eos[0] : -1, 1 },
        { "<bos>", c->bos_token_id, -1 },
        { "<|image>", c->boi_token_id, -1 },
        { "<image|>", c->eoi_token_id, -1 },
        { "<|image|>", c->image_token_id, -1 },
        { "<|video|>", c->video_token_id, -1 },
        { "<|audio>", c->boa_token_id, -1 },
        { "<audio|>", c->eoa_token_id, -1 },
        { "<|audio|>", c->audio_token_id, -1 },
        { "<unk>", -1, 3 },
        { "<mask>", -1, 4 },
        { "<|tool>", -1, 46 },
        { "<tool|>", -1, 47 },
        { "<|tool_call>", -1, 48 },
        { "<tool_call|>", -1, 49 },
        { "<|tool_response>", -1, 50 },
        { "<tool_response|>", -1, 51 },
        { "<|\\\"|>", -1, 52 },
        { "<|think|>", -1, 98 },
        { "<|channel>", -1, 100 },
        { "<channel|>", -1, 101 },
        { "<|turn>", -1, 105 },
        { "<turn|>", -1, 106 },
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].id >= 0 || list[i].usual >= 0) v->special[v->specials++] = list[i];
}

static g4_status place_special(vocab *v, const char *source, g4_err *err)
{
    for (int i = 0; i < v->specials; i++) {   /* 1. where config.json wants them */
        special *s = &v->special[i];
        if (s->id < 0) continue;
        if (v->at[s->id])
            return g4_fail(err, G4_EINPUT, "%s: token id %lld is both %s and %s", source,
                           (long long)s->id, v->special[v->at[s->id] - 1].text, s->text);
        v->at[s->id] = (uint8_t)(i + 1);
    }
    for (int i = 0; i < v->specials; i++) {   /* 2. the usual place, or the next free one */
        special *s = &v->special[i];
        if (s->id >= 0) continue;
        int64_t id = s->usual < v->size ? s->usual : 0;
        for (int64_t tried = 0; v->at[id] && tried < v->size; tried++) id = (id + 1) % v->size;
        s->id = id;
        v->at[id] = (uint8_t)(i + 1);
    }
    return G4_OK;
}

static g4_status vocab_plan(vocab *v, const g4_config *c, const char *source, g4_err *err)
{
    *v = (vocab){ .size = c->vocab_size };
    list_special(v, c);
    if (v->size < BYTES + v->specials)
        return g4_fail(err, G4_EINPUT,
                       "%s: vocab_size is %lld, a tokenizer needs %d (%d special tokens, %d bytes)",
                       source, (long long)v->size, BYTES + v->specials, v->specials, (int)BYTES);
    v->at = calloc((size_t)v->size, 1);
    if (!v->at) return g4_nomem(err, "vocabulary");
    return place_special(v, source, err);
}

/* Piece n of the ordinary ones, as JSON text: bytes, characters, pairs, triples ...
 * *cut: where its last character starts, if it has more than one; else 0. */
static void piece(char text[MAX_PIECE], int64_t n, size_t *cut)
{
    const char *part[8];
    int len = 1;
    *cut = 0;
    if (n < BYTES) {
        snprintf(text, MAX_PIECE, "<0x%02X>", (unsigned)n);
        return;
    }
    n -= BYTES;
    for (int64_t many = LETTERS; n >= many; many *= LETTERS, len++) n -= many;
    for (int i = len - 1; i >= 0; i--, n /= LETTERS) part[i] = letters[n % LETTERS];
    size_t at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && i == len - 1) *cut = at;
        at += (size_t)snprintf(text + at, MAX_PIECE - at, "%s", part[i]);
    }
}

static g4_status write_added(g4_out *o, const vocab *v, g4_err *err)
{
    const char *comma = "";
    G4_TRY(g4_out_printf(o, err, "{\n \"version\": \"1.0\",\n \"truncation\": null,\n"
                                 " \"padding\": null,\n \"added_tokens\": ["));
    for (int64_t id = 0; id < v->size; id++) {
        if (!v->at[id]) continue;
        G4_TRY(g4_out_printf(o, err,
                             "%s\n  {\"id\": %lld, \"content\": \"%s\", \"single_word\": false, "
                             "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                             "\"special\": true}",
                             comma, (long long)id, v->special[v->at[id] - 1].text));
        comma = ",";
    }
    return g4_out_printf(o, err, "\n ],\n");
}

/* The rest of the pipeline is the shipped tokenizer's: no <bos> is added. */
static g4_status write_pipeline(g4_out *o, g4_err *err)
{
    return g4_out_printf(o, err,
        " \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, "
        "\"content\": \"\xe2\x96\x81\"},\n"
        " \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, "
        "\"behavior\": \"MergedWithPrevious\", \"invert\": false},\n"
        " \"post_processor\": null,\n"
        " \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", "
        "\"pattern\": {\"String\": \"\xe2\x96\x81\"}, \"content\": \" \"}, "
        "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}]},\n"
        " \"model\": {\n  \"type\": \"BPE\",\n  \"dropout\": null,\n  \"unk_token\": \"<unk>\",\n"
        "  \"continuing_subword_prefix\": null,\n  \"end_of_word_suffix\": null,\n"
        "  \"fuse_unk\": true,\n  \"byte_fallback\": true,\n  \"ignore_merges\": false,\n"
        "  \"vocab\": {");
}

static g4_status write_vocab(g4_out *o, const vocab *v, g4_err *err)
{
    char text[MAX_PIECE];
    size_t cut;
    int64_t n = 0;
    for (int64_t id = 0; id < v->size; id++) {
        const char *s = text;
        if (v->at[id]) s = v->special[v->at[id] - 1].text;
        else piece(text, n++, &cut);
        G4_TRY(g4_out_printf(o, err, "%s\n   \"%s\": %lld", id ? "," : "", s, (long long)id));
    }
    G4_TRY(g4_out_printf(o, err, "\n  },\n  \"merges\": ["));
    const char *comma = "";
    for (int64_t i = BYTES + LETTERS; i < n; i++) {
        piece(text, i, &cut);
        G4_TRY(g4_out_printf(o, err, "%s\n   [\"%.*s\", \"%s\"]", comma, (int)cut, text,
                             text + cut));
        comma = ",";
    }
    return g4_out_printf(o, err, "\n  ]\n }\n}\n");
}

static g4_status write_all(g4_out *o, const vocab *v, g4_err *err)
{
    G4_TRY(write_added(o, v, err));
    G4_TRY(write_pipeline(o, err));
    G4_TRY(write_vocab(o, v, err));
    return g4_out_commit(o, err);
}

g4_status g4_synth_tokenizer(const char *path, const g4_config *c, const char *source,
                             int64_t *end_of_turn, g4_err *err)
{
    g4_out out = G4_OUT_NONE;
    vocab v;
    g4_status s = vocab_plan(&v, c, source, err);
    if (s == G4_OK) s = g4_out_open(&out, path, err);
    if (s == G4_OK) s = write_all(&out, &v, err);
    *end_of_turn = -1;
    for (int i = 0; i < v.specials; i++)
        if (strcmp(v.special[i].text, "<turn|>") == 0) *end_of_turn = v.special[i].id;
    g4_out_abort(&out);
    free(v.at);
    return s;
}
