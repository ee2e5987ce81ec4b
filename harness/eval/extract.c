/* SPDX-License-Identifier: Apache-2.0
 * The answer in a generated text, as lm-eval's filters find it (their regular expressions
 * are written beside), and whether it is the right one. */
#include "harness/eval/eval.h"
#include "harness/eval/pystr.h"

#include <string.h>

static const char invalid[] = "[invalid]";   /* lm-eval's fallback where there is no match */

const char *g4_extract_text(g4_arena *arena, const g4_doc *d)
{
    return g4_py_strip(arena, d->response);
}

/* re.findall(r"answer is \(?([ABCDEFGHIJ])\)?")[0] */
const char *g4_extract_letter(g4_arena *arena, const g4_doc *d)
{
    static const char what[] = "answer is ";
    for (const char *p = d->response; (p = strstr(p, what)); p++) {
        const char *at = p + sizeof what - 1;
        at += *at == '(';
        if (*at >= 'A' && *at <= 'J') return g4_arena_strndup(arena, at, 1);
    }
    return g4_arena_printf(arena, "%s", invalid);
}

/* re.findall(r"#### (\-?[0-9\.\,]+)")[0] */
const char *g4_extract_marked_number(g4_arena *arena, const g4_doc *d)
{
    static const char what[] = "#### ";
    for (const char *p = d->response; (p = strstr(p, what)); p++) {
        const char *at = p + sizeof what - 1;
        size_t sign = *at == '-', n = strspn(at + sign, "0123456789.,");
        if (n) return g4_arena_strndup(arena, at, sign + n);
    }
    return g4_arena_printf(arena, "%s", invalid);
}

/* re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")[-1] */
const char *g4_extract_last_number(g4_arena *arena, const g4_doc *d)
{
    const char *found = NULL;
    size_t len = 0;
    for (const char *p = d->response; *p;) {
        size_t sign = *p == '-', n = strspn(p + sign, "$0123456789.,");
        if (n < 2) n = strspn(p + sign, "0123456789");
        if (n) found = p, len = sign + n;
        p += n ? sign + n : 1;
    }
    return found ? g4_arena_strndup(arena, found, len) : g4_arena_printf(arena, "%s", invalid);
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* Python's == of the two after lower() and without ASCII punctuation. */
int g4_same_text(const char *a, const char *b)
{
    static const char punctuation[] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    for (;; a++, b++) {
        while (*a && strchr(punctuation, *a)) a++;
        while (*b && strchr(punctuation, *b)) b++;
        if (lower(*a) != lower(*b)) return 0;
        if (!*a) return 1;
    }
}

/* What re.sub(r"(?s).*#### ", "", text) leaves once commas and dollars are gone: these may
 * stand within the mark, so it is looked for without them. */
static const char *behind_mark(const char *text)
{
    static const char what[] = "#### ";
    const char *found = text;
    for (const char *p = text; *p; p++) {
        const char *at = p;
        size_t k = 0;
        for (; *at && what[k]; at++)
            if (*at == what[k]) k++;
            else if (*at != ',' && *at != '$') break;
        if (!what[k]) found = at;
    }
    return found;
}

/* The next byte that counts; a full stop at the end (or before a last line end) does not. */
static int next_byte(const char **p)
{
    while (**p == ',' || **p == '$') ++*p;
    if (**p != '.') return **p;
    const char *q = *p + 1 + strspn(*p + 1, ",$");
    const char *r = *q == '\n' ? q + 1 + strspn(q + 1, ",$") : q;
    if (*r) return '.';
    *p = q;
    return **p;
}

/* gsm8k's exact_match: without ",", "$", all up to the last "#### ", a full stop at the
 * end; case does not count. */
int g4_same_number(const char *a, const char *b)
{
    a = behind_mark(a);
    b = behind_mark(b);
    for (;; a++, b++) {
        int x = lower(next_byte(&a)), y = lower(next_byte(&b));
        if (x != y) return 0;
        if (!x) return 1;
    }
}
