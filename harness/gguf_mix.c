/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/gguf_mix.h"

#include "harness/text.h"
#include "ref/base/arena.h"
#include "ref/base/map.h"
#include "ref/dtype/dtype.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- mixes ---- */

typedef enum when {
    NEVER,
    ALWAYS,
    FIRST,     /* the first `of` of that tensor */
    PART,      /* the first 1 / `of` of the layers */
    MORE,      /* the first and the last eighth, and every third between them */
    SHARED,    /* at least 4 query heads share a key/value head */
    UNWEIGHED, /* as PART, without an importance matrix */
    WEIGHED,   /* as PART, with one */
} when;

/* Where `when` holds the tensor is `to`, elsewhere `rest`; BASE: the mix's own format. */
enum { BASE = G4_DTYPE_COUNT };
typedef struct rule {
    when when;
    int of, to, rest;
} rule;

#define SAME { NEVER, 0, BASE, BASE }
#define ALL(t) { ALWAYS, 0, G4_##t, BASE }

struct g4_mix {
    const char *name;
    g4_dtype base, embed;     /* embed: the embedding, which is the output matrix, too */
    uint32_t file_type;
    rule value, down, output; /* attn_v, ffn_down, attn_output */
};

const char g4_mix_names[] =
    "f32, f16, bf16, q8_0, q6_k, q5_k_m (or q5_k), q5_k_s, q4_k_m (or q4_k), q4_k_s, iq4_xs, "
    "iq4_nl, q5_1, q5_0, q4_1, q4_0, q3_k_l, q3_k_m (or q3_k), q3_k_s, q2_k";

#define K_M(name, base, id)                                                              \
    { name, G4_##base, G4_Q6_K, id, { MORE, 0, G4_Q6_K, BASE }, { MORE, 0, G4_Q6_K, BASE }, SAME }
#define Q3_K_M(name)                                                                \
    { name, G4_Q3_K, G4_Q6_K, 12, { FIRST, 2, G4_Q5_K, G4_Q4_K }, { PART, 16, G4_Q5_K, G4_Q4_K }, \
      ALL(Q4_K) }
#define IQ4(name, base, id)                                                                \
    { name, G4_##base, G4_Q6_K, id, { SHARED, 0, G4_Q5_K, BASE },                          \
      { UNWEIGHED, 8, G4_Q5_K, BASE }, SAME }
#define PLAIN(name, base, embed, id) { name, G4_##base, G4_##embed, id, SAME, SAME, SAME }

static const g4_mix mixes[] = {
    PLAIN("f32", F32, F32, 0),
    PLAIN("f16", F16, F16, 1),
    PLAIN("bf16", BF16, BF16, 32),
    PLAIN("q8_0", Q8_0, Q8_0, 7),
    PLAIN("q6_k", Q6_K, Q6_K, 18),
    K_M("q5_k_m", Q5_K, 17),
    K_M("q5_k", Q5_K, 17),
    PLAIN("q5_k_s", Q5_K, Q6_K, 16),
    K_M("q4_k_m", Q4_K, 15),
    K_M("q4_k", Q4_K, 15),
    { "q4_k_s", G4_Q4_K, G4_Q6_K, 14, { FIRST, 4, G4_Q5_K, BASE }, { PART, 8, G4_Q5_K, BASE },
      SAME },
    IQ4("iq4_xs", IQ4_XS, 30),
    IQ4("iq4_nl", IQ4_NL, 25),
    PLAIN("q5_1", Q5_1, Q6_K, 9),
    { "q5_0", G4_Q5_0, G4_Q6_K, 8, SAME, { WEIGHED, 8, G4_Q5_1, BASE }, SAME },
    PLAIN("q4_1", Q4_1, Q6_K, 3),
    { "q4_0", G4_Q4_0, G4_Q6_K, 2, SAME, { WEIGHED, 8, G4_Q4_1, BASE }, SAME },
    { "q3_k_l", G4_Q3_K, G4_Q6_K, 13, ALL(Q5_K), ALL(Q5_K), ALL(Q5_K) },
    Q3_K_M("q3_k_m"),
    Q3_K_M("q3_k"),
    PLAIN("q3_k_s", Q3_K, Q6_K, 11),
    { "q2_k", G4_Q2_K, G4_Q6_K, 10, { SHARED, 0, G4_Q4_K, G4_Q3_K }, ALL(Q3_K), ALL(Q3_K) },
};

g4_status g4_mix_find(const g4_mix **mix, const char *type, g4_err *err)
{
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        if (strcasecmp((*mix = &mixes[i])->name, type) == 0) return G4_OK;
    return g4_fail(err, G4_EINPUT, "--type %.40s: not available; available: %s", type,
                   g4_mix_names);
}

uint32_t g4_mix_file_type(const g4_mix *mix)
{
    return mix->file_type;
}

g4_dtype g4_mix_base(const g4_mix *mix)
{
    return mix->base;
}

g4_dtype g4_mix_fitting(g4_dtype want, int64_t cols)
{
    static const struct { g4_dtype from, to; } smaller[] = {
        { G4_IQ4_XS, G4_IQ4_NL }, { G4_Q2_K, G4_Q4_0 }, { G4_Q3_K, G4_Q4_0 },
        { G4_Q4_K, G4_Q5_0 },     { G4_Q5_K, G4_Q5_1 }, { G4_Q6_K, G4_Q8_0 },
    };
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
        if (smaller[i].from == want && cols % g4_dtype_get(want)->block != 0)
            want = smaller[i].to;
    return cols % g4_dtype_get(want)->block == 0 ? want : G4_F16;
}

static int holds(const rule *r, const g4_mix_rules *m, int64_t i, int64_t n)
{
    const g4_config *c = m->config;
    switch (r->when) {
    case NEVER:     return 0;
    case ALWAYS:    return 1;
    case FIRST:     return i < r->of;
    case PART:      return i < n / r->of;
    case MORE:      return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case SHARED:    return c->num_attention_heads / c->kv_heads[c->layer_kind[0]] >= 4;
    case UNWEIGHED: return !m->weighed && i < n / r->of;
    case WEIGHED:   return m->weighed && i < n / r->of;
    }
    return 0;
}

static int64_t value_layers(const g4_config *c)
{
    int64_t n = 0;
    for (int64_t l = 0; l < c->num_hidden_layers; l++) n += g4_layer_has_v(c, l) && !c->is_drafter;
    return n;
}

/* attn_v is counted where there is one, ffn_down over all layers: as in llama-quant.cpp. */
static g4_dtype of_mix(g4_mix_rules *m, const char *name, const g4_shape_tensor *t)
{
    const g4_mix *mix = m->mix;
    const rule *r = NULL;
    int64_t i = 0, n = m->config->num_hidden_layers;
    if (t->role == G4_ROLE_TABLE) return mix->embed;
    if (strstr(name, ".attn_v.")) {
        r = &mix->value;
        i = m->values++;
        n = value_layers(m->config);
    } else if (strstr(name, ".ffn_down.")) {
        r = &mix->down;
        i = m->downs++;
    } else if (strstr(name, ".attn_output.")) {
        r = &mix->output;
    }
    if (!r) return mix->base;
    int to = holds(r, m, i, n) ? r->to : r->rest;
    return to == BASE ? mix->base : (g4_dtype)to;
}

/* ---- recipes ---- */

enum { MAX_PATTERN = 256, MAX_WORDS = 4096, MAX_RECIPE = 1 << 20 };

typedef struct word {
    const char *text;
    regex_t regex;
    g4_dtype type;
    int used;
} word;

struct g4_recipe {
    g4_arena arena;
    word *list;               /* [MAX_WORDS] */
    size_t count;
};

g4_status g4_recipe_open(g4_recipe **recipe, g4_err *err)
{
    g4_recipe *r = *recipe = calloc(1, sizeof *r);
    if (!r) return g4_nomem(err, "recipe");
    r->list = g4_arena_alloc(&r->arena, MAX_WORDS, sizeof *r->list);
    return r->list ? G4_OK : g4_nomem(err, "recipe");
}

void g4_recipe_close(g4_recipe *r)
{
    if (!r) return;
    for (size_t i = 0; i < r->count; i++) regfree(&r->list[i].regex);
    g4_arena_free(&r->arena);
    free(r);
}

/* \d is what people write and POSIX does not know. */
static void to_posix(char *dst, const char *src, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (src[i] == '\\' && i + 1 < len) {
            int digit = src[i + 1] == 'd';
            memcpy(dst, digit ? "[0-9]" : &src[i], digit ? 5 : 2);
            dst += digit ? 5 : 2;
            i++;
        } else {
            *dst++ = src[i];
        }
    }
    *dst = 0;
}

static g4_status compile(word *w, const char *where, const char *pattern, size_t len, g4_err *err)
{
    char text[5 * MAX_PATTERN + 1];
    /* Repeated intervals let a pattern grow without bound when it is compiled. */
    if (len == 0 || len > MAX_PATTERN || memchr(pattern, '{', len))
        return g4_fail(err, G4_EINPUT, "%s: %.40s: expected PATTERN=TYPE, a pattern of 1 to %d "
                       "bytes without {}", where, pattern, (int)MAX_PATTERN);
    to_posix(text, pattern, len);
    int bad = regcomp(&w->regex, text, REG_EXTENDED | REG_NOSUB);
    if (bad == 0) return G4_OK;
    if (bad == REG_ESPACE) return g4_nomem(err, where);
    return g4_fail(err, G4_EINPUT, "%s: %.*s: is no regular expression", where,
                   (int)(len < 60 ? len : 60), pattern);
}

g4_status g4_recipe_add(g4_recipe *r, const char *where, const char *text, g4_err *err)
{
    const char *equals = strrchr(text, '=');
    char *copy = g4_arena_strndup(&r->arena, text, strlen(text));
    if (!copy) return g4_nomem(err, where);
    for (char *p = copy; *p; p++) *p = (char)tolower((unsigned char)*p);
    int type = equals ? g4_dtype_by_name(copy + (equals - text) + 1) : -1;
    if (type < 0 || !g4_dtype_get((g4_dtype)type)->pack)
        return g4_fail(err, G4_EINPUT, "%s: %.60s: expected PATTERN=TYPE, TYPE a format that can "
                       "be written", where, text);
    if (r->count == MAX_WORDS)
        return g4_fail(err, G4_EINPUT, "%s: more than %d overrides", where, (int)MAX_WORDS);
    word *w = &r->list[r->count];
    G4_TRY(compile(w, where, copy, (size_t)(equals - text), err));
    w->text = copy;
    w->type = (g4_dtype)type;
    r->count++;
    return G4_OK;
}

/* One line, cut into words in place. */
static g4_status read_line(g4_recipe *r, const char *path, int number, char *line, g4_err *err)
{
    static const char blanks[] = " \t\r\f\v";
    char where[160];
    size_t len = strlen(path);
    const char *name = len > 100 ? path + len - 100 : path;
    snprintf(where, sizeof where, "%s: line %d", name, number);
    line[strcspn(line, "#")] = 0;
    for (char *p = line + strspn(line, blanks); *p; p += strspn(p, blanks)) {
        char *end = p + strcspn(p, blanks), last = *end;
        *end = 0;
        G4_TRY(g4_recipe_add(r, where, p, err));
        p = last ? end + 1 : end;
    }
    return G4_OK;
}

g4_status g4_recipe_read(g4_recipe *r, const char *path, g4_err *err)
{
    uint8_t *data;
    size_t size;
    G4_TRY(g4_file_read(path, MAX_RECIPE, &data, &size, err));
    g4_status s = G4_OK;
    if (strlen((char *)data) != size)
        s = g4_fail(err, G4_EINPUT, "%s: has a NUL at byte %zu", path, strlen((char *)data));
    char *p = (char *)data;
    for (int number = 1; s == G4_OK && *p; number++) {
        char *end = p + strcspn(p, "\n");
        int more = *end != 0;
        *end = 0;
        s = read_line(r, path, number, p, err);
        p = end + more;
    }
    free(data);
    return s;
}

size_t g4_recipe_unused(const g4_recipe *r, const char **text)
{
    size_t n = 0;
    for (size_t i = 0; r && i < r->count; i++) {
        if (r->list[i].used) continue;
        if (n++ == 0) *text = r->list[i].text;
    }
    return n;
}

void g4_recipe_note_unused(const g4_recipe *r)
{
    const char *first = NULL;
    char text[320];
    size_t n = g4_recipe_unused(r, &first);
    if (n) fprintf(stderr, "note: %zu override%s matched no tensor, the first is %s\n", n,
                   n > 1 ? "s" : "", g4_text_safe(text, sizeof text, first));
}

static const word *match(g4_recipe *r, const char *name)
{
    for (size_t i = 0; r && i < r->count; i++)
        if (regexec(&r->list[i].regex, name, 0, NULL, 0) == 0) {
            r->list[i].used = 1;
            return &r->list[i];
        }
    return NULL;
}

g4_dtype g4_mix_choose(g4_mix_rules *m, const char *name, const g4_shape_tensor *t)
{
    if (t->role != G4_ROLE_TABLE && t->role != G4_ROLE_LINEAR) return G4_F32;
    const word *w = match(m->recipe, name);
    return g4_mix_fitting(w ? w->type : of_mix(m, name, t), t->shape[t->rank - 1]);
}
