/* SPDX-License-Identifier: Apache-2.0
 * The choice that a worked answer settles on, as lm-eval's filters of GPQA find it
 * (tasks/gpqa/cot_zeroshot, filters/extraction.py). */
#include "harness/eval/eval.h"
#include "harness/eval/pystr.h"

#include <string.h>

enum { MAX_CHOICES = 26 };

/* re.findall(r"(?<=The answer is )(.*)(?=.)")[0]: what follows on that line but for its last
 * character, where something does. */
const char *g4_extract_sentence(g4_arena *arena, const g4_doc *d)
{
    static const char what[] = "The answer is ";
    for (const char *p = d->response; (p = strstr(p, what)); p++) {
        const char *at = p + sizeof what - 1;
        size_t n = strcspn(at, "\n");
        if (!n) continue;
        do n--;
        while (n && ((unsigned char)at[n] & 0xc0) == 0x80);
        const char *found = g4_arena_strndup(arena, at, n);
        return found ? g4_py_strip(arena, found) : NULL;
    }
    return g4_arena_printf(arena, "[invalid]");
}

/* re.findall(r"(\([A-Z]\))")[-1]; 0: none */
static char last_bracketed(const char *text)
{
    char letter = 0;
    for (const char *p = text; (p = strchr(p, '(')); p++)
        if (p[1] >= 'A' && p[1] <= 'Z' && p[2] == ')') letter = p[1];
    return letter;
}

/* re.findall(r":[\s]*(A|B|...)")[-1] */
static char last_behind_colon(const char *text, int n)
{
    char letter = 0;
    for (const char *p = text; (p = strchr(p, ':'));) {
        size_t step;
        p++;
        while (*p && g4_py_space(p, strlen(p), &step)) p += step;
        if (*p >= 'A' && *p < 'A' + n) letter = *p;
    }
    return letter;
}

/* len(re.escape(text)) */
static size_t escaped(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80 ? 1 + !!strchr("()[]{}?*+-|^$\\.&~# \t\n\r\v\f",
                                                                  *text) : 0;
    return n;
}

typedef struct names {
    const char *text[MAX_CHOICES];   /* lower case, no punctuation; longest first */
    char letter[MAX_CHOICES];
    int n;
} names;

/* Sorted as Python's alternation is; of two of one text the later one's letter counts. */
static int name_choices(names *s, const g4_doc *d, g4_arena *a)
{
    const json_t *list = json_object_get(d->doc, "choices");
    s->n = 0;
    for (size_t i = 0; i < json_array_size(list) && i < MAX_CHOICES; i++) {
        const char *t = g4_py_strip(a, json_string_value(json_array_get(list, i)));
        if (t) t = g4_py_lower_bare(a, t);
        if (!t) return 0;
        int at = s->n++;
        for (; at && escaped(s->text[at - 1]) < escaped(t); at--) {
            s->text[at] = s->text[at - 1];
            s->letter[at] = s->letter[at - 1];
        }
        s->text[at] = t;
        s->letter[at] = (char)('A' + i);
        for (int k = 0; k < at; k++)
            if (strcmp(s->text[k], t) == 0) s->letter[k] = s->letter[at];
    }
    return 1;
}

/* The last choice that the text names; its index, or -1: none.  A choice without a letter or
 * digit matches everywhere, at the end last. */
static int last_named(const names *s, const char *text)
{
    int found = -1;
    for (const char *p = text;;) {
        size_t len = 0;
        int k = 0;
        while (k < s->n && strncmp(p, s->text[k], strlen(s->text[k])) != 0) k++;
        if (k < s->n) {
            found = k;
            len = strlen(s->text[k]);
        }
        if (!*p) return found;
        p += len ? len : 1;
    }
}

static char letter_of(const names *s, const char *text)
{
    for (int k = 0; k < s->n; k++)
        if (strcmp(s->text[k], text) == 0) return s->letter[k];
    return 0;
}

/* lm-eval's multi_choice_regex, the last match of each. */
const char *g4_extract_choice(g4_arena *arena, const g4_doc *d)
{
    char letter = last_bracketed(d->response);
    names s;
    if (!letter) {
        const char *bare = g4_py_lower_bare(arena, d->response);
        if (!bare || !name_choices(&s, d, arena)) return NULL;
        int k = last_named(&s, bare);
        const char *text = k < 0 ? "" : g4_py_strip(arena, s.text[k]);
        if (!text) return NULL;
        if (!*text) letter = last_behind_colon(d->response, s.n);
        else if ((letter = letter_of(&s, text)) == 0) return text;   /* as lm-eval does */
    }
    return letter ? g4_arena_printf(arena, "(%c)", letter) : g4_arena_printf(arena, "[invalid]");
}
