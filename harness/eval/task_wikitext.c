/* SPDX-License-Identifier: Apache-2.0
 * WikiText-2 (Merity et al. 2016), pages predicted whole: DIR/test.jsonl, {"page": ...} a line
 * as EleutherAI/wikitext_document_level has them, or DIR/wiki.test.raw as published, cut into
 * the same pages.  What is predicted is lm-eval's detokenized page; what is counted are words
 * and bytes of the page as it was [N49]. */
#include "harness/eval/eval.h"
#include "harness/eval/jsonl.h"
#include "harness/eval/pystr.h"

#include "harness/kl/windows.h"
#include "ref/base/map.h"
#include "ref/input/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_RAW = 1 << 30 };

/* re.sub(r"OPEN\s*([^CLOSE]*?)\s*CLOSE", r"OPEN\1CLOSE"): no white space inside, up to the
 * first one that closes. */
static const char *tighten(g4_arena *a, const char *text, char open, char close)
{
    if (!text) return NULL;
    char *out = g4_arena_alloc(a, strlen(text) + 1, 1);
    size_t n = 0;
    while (out && *text) {
        const char *end = *text == open ? strchr(text + 1, close) : NULL;
        out[n++] = *text++;
        if (!end) continue;
        const char *inner = g4_arena_strndup(a, text, (size_t)(end - text));
        if (inner) inner = g4_py_strip(a, inner);
        if (!inner) return NULL;
        memcpy(out + n, inner, strlen(inner));
        n += strlen(inner);
        out[n++] = close;
        text = end + 1;
    }
    return out;
}

/* re.sub(r"/' [0-9]/", "/'[0-9]/"), which puts no digit back. */
static const char *slashes(g4_arena *a, const char *text)
{
    char what[] = "/' 0/";
    for (char d = '0'; d <= '9'; d++) {
        what[3] = d;
        if (text && strstr(text, what)) text = g4_py_replace(a, text, what, "/'[0-9]/");
    }
    return text;
}

/* lm-eval's wikitext_detokenizer(), step by step. */
static const char *detokenize(g4_arena *a, const char *page)
{
    static const char *const before[][2] = {
        { " @-@ ", "-" }, { " @,@ ", "," }, { " @.@ ", "." }, { " : ", ": " }, { " ; ", "; " },
        { " . ", ". " }, { " ! ", "! " }, { " ? ", "? " }, { " , ", ", " },
    };
    static const char *const after[][2] = {
        { "= = = =", "====" }, { "= = =", "===" }, { "= =", "==" },
        { " \xc2\xb0 ", "\xc2\xb0" }, { " \n", "\n" }, { "\n ", "\n" }, { " N ", " 1 " },
        { " 's", "'s" },
    };
    const char *t = slashes(a, g4_py_replace(a, page, "s '", "s'"));
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++)
        t = g4_py_replace(a, t, before[i][0], before[i][1]);
    for (const char *pair = "()[]{}\"\"''"; *pair; pair += 2)
        t = tighten(a, t, pair[0], pair[1]);
    for (size_t i = 0; i < sizeof after / sizeof after[0]; i++)
        t = g4_py_replace(a, t, after[i][0], after[i][1]);
    return t;
}

static g4_status doc_fill(g4_eval *e, g4_doc *d, const char *page, json_t *doc, g4_err *err)
{
    g4_arena scratch = { NULL };
    const char *text = detokenize(&scratch, page);
    d->doc = doc;
    d->rolling = 1;
    d->words = (double)g4_kl_gaps(page, strlen(page)) + 1.0;
    d->bytes = (double)strlen(page);
    d->context = text ? g4_arena_strndup(&e->arena, text, strlen(text)) : NULL;
    d->target = d->context;
    g4_arena_free(&scratch);
    return d->context && doc ? G4_OK : g4_nomem(err, "wikitext");
}

/* ---- pages of a raw file ---- */

/* Does a page begin with this line?  " = Title = ", not " = = Section = = ". */
static int opens_page(const char *line, size_t len)
{
    while (len && strchr(" \t\r", line[len - 1])) len--;
    while (len && strchr(" \t\r", *line)) line++, len--;
    return len >= 4 && line[0] == '=' && line[1] == ' ' && line[2] != '=' && line[len - 1] == '=' &&
           line[len - 2] == ' ' && line[len - 3] != '=';
}

static int is_blank(const char *text, size_t len)
{
    size_t at = 0, step;
    while (at < len && g4_py_space(text + at, len - at, &step)) at += step;
    return at >= len;
}

/* A page ends before the line end in front of the next title.  What stands before the first
 * title is a page if it is not blank; the last page is one in any case. */
static const char *page_end(const char *page, const char *end)
{
    for (const char *line = page;;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (line > page && opens_page(line, (size_t)((stop ? stop : end) - line))) return line - 1;
        if (!stop) return end;
        line = stop + 1;
    }
}

static g4_status pages(g4_eval *e, g4_leaf *leaf, const char *text, size_t size,
                       const g4_eval_source *src, g4_err *err)
{
    const char *end = text + size;
    for (int pass = 0; pass < 2; pass++) {
        size_t n = 0;
        for (const char *p = text, *stop; p <= end; p = stop + 1) {
            stop = page_end(p, end);
            if (stop < end && is_blank(p, (size_t)(stop - p))) continue;
            if (pass && n < leaf->count) {
                char *page = g4_arena_strndup(&e->arena, p, (size_t)(stop - p));
                if (!page) return g4_nomem(err, "wikitext");
                G4_TRY(doc_fill(e, &leaf->docs[n], page, json_pack("{s:s}", "page", page), err));
            }
            n++;
        }
        if (!pass) G4_TRY(g4_leaf_init(leaf, e, n, src, err));
    }
    return G4_OK;
}

static g4_status load_raw(g4_eval *e, g4_leaf *leaf, const char *path, const g4_eval_source *src,
                          g4_err *err)
{
    uint8_t *data;
    size_t size, n = 0;
    G4_TRY(g4_file_read(path, MAX_RAW, &data, &size, err));
    for (size_t i = 0; i < size; i++)   /* line ends as Python reads them */
        if (data[i] != '\r') data[n++] = data[i];
        else if (i + 1 == size || data[i + 1] != '\n') data[n++] = '\n';
    int text = g4_utf8_check((char *)data, n) == n && !memchr(data, 0, n);
    g4_status s = text ? pages(e, leaf, (char *)data, n, src, err)
                       : g4_fail(err, G4_EINPUT, "%s: not valid UTF-8, or holds a NUL", path);
    free(data);
    return s;
}

static g4_status load_lines(g4_eval *e, g4_leaf *leaf, const g4_jsonl *f,
                            const g4_eval_source *src, g4_err *err)
{
    G4_TRY(g4_leaf_init(leaf, e, f->count, src, err));
    for (size_t i = 0; i < leaf->count; i++) {
        const g4_json *line = &f->lines[i];
        const char *page = json_string_value(json_object_get(line->root, "page"));
        if (!page) return g4_fail(err, G4_EINPUT, "%s: page is missing or not a text", line->file);
        G4_TRY(doc_fill(e, &leaf->docs[i], page, json_incref(line->root), err));
    }
    return G4_OK;
}

g4_status g4_task_wikitext(g4_eval *e, const g4_eval_source *src, g4_err *err)
{
    g4_jsonl f = { 0 };
    const char *lines = g4_arena_printf(&e->arena, "%s/test.jsonl", src->dir);
    const char *raw = g4_arena_printf(&e->arena, "%s/wiki.test.raw", src->dir);
    if (strcmp(src->name, "wikitext") != 0)
        return g4_fail(err, G4_EINPUT, "--task %.60s: wikitext has no parts", src->name);
    if (src->shots || e->frame.turns || e->frame.system)
        return g4_fail(err, G4_EINPUT, "--task wikitext: pages have no examples, turns or system "
                       "text");
    e->leaves = g4_arena_alloc(&e->arena, 1, sizeof *e->leaves);
    if (!lines || !raw || !e->leaves) return g4_nomem(err, src->dir);
    *e->leaves = (g4_leaf){ .name = "wikitext", .alias = "wikitext" };
    e->count = 1;
    if (g4_path_kind(lines) == 0 && g4_path_kind(raw) == 1)
        return load_raw(e, e->leaves, raw, src, err);
    g4_status s = g4_jsonl_load(&f, lines, err);
    if (s == G4_OK) s = load_lines(e, e->leaves, &f, src, err);
    g4_jsonl_free(&f);
    return s;
}
