/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/plot.h"

#include "ref/base/map.h"
#include "ref/model/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_NAME = 1024, MAX_LABELS = 24 };   /* of a path; of layers on the axis */

/* Where a dataset stands in the picture.  Trunk: embeddings 0, layer l's output
 * l + 1, its modules between l and l + 1; then norm and logits.  Draft step s:
 * its modules between s and s + 1, `hidden` at s + 1. */
typedef struct place {
    double depth;
    const char *kind;        /* output, norm, attention, mlp, other */
    char tic[16];
} place;

g4_status g4_plot_check(const char *path, g4_err *err)
{
    size_t len = strlen(path);
    int ok = len > 4 && len < MAX_NAME / 2 &&
             (strcmp(path + len - 4, ".svg") == 0 || strcmp(path + len - 4, ".png") == 0);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)path[i] < 0x20) ok = 0;   /* would end a line of the script */
    if (!ok)
        return g4_fail(err, G4_EINPUT, "%s: --plot needs a file name ending in .svg or .png", path);
    return G4_OK;
}

static int starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static const char *module_kind(const char *name)
{
    if (strstr(name, "norm")) return "norm";
    if (strstr(name, "self_attn/")) return "attention";
    return strstr(name, "mlp/") ? "mlp" : "other";
}

/* Place of a tap among those that share its folder, in (0, 1]. */
static double fraction(const char *name, g4_tap_id first, g4_tap_id last, int64_t layer,
                       int64_t step)
{
    char path[G4_GOLDEN_PATH];
    for (int id = first; id <= (int)last; id++)
        if (strcmp(name, g4_tap_path(path, sizeof path, (g4_tap_id)id, layer, step)) == 0)
            return (double)(id - (int)first + 1) / (double)((int)last - (int)first + 1);
    return 0.5;
}

/* layers: how many the golden shows.  0 if the dataset is not drawn. */
static int place_of(const g4_golden_set *s, int64_t layers, place *p)
{
    const char *name = g4_compare_short(s->path);
    int64_t layer = 0, step = 0;
    *p = (place){0, "other", ""};
    if (s->role == G4_GOLDEN_EQUAL || starts(s->path, "inputs/")) return 0;
    int trunk_end = layers ? (int)layers + 3 : 0;
    if (sscanf(name, "layers/%" SCNd64 "/", &layer) == 1) {
        double part = fraction(name, G4_TAP_input_layernorm, G4_TAP_output, layer, 0);
        p->depth = (double)layer + part;
        p->kind = part == 1 ? "output" : module_kind(name);
        if (part == 1 && layer % (1 + layers / MAX_LABELS) == 0)
            snprintf(p->tic, sizeof p->tic, "%" PRId64, layer);
    } else if (sscanf(name, "mtp/step%" SCNd64 "/", &step) == 1) {
        int hidden = strstr(name, "/hidden") != NULL;
        double part = hidden ? 1 : 0.1;   /* inputs_embeds first */
        if (strstr(name, "/logits")) part = 0.95;
        if (sscanf(name, "mtp/step%*d/layers/%" SCNd64, &layer) == 1)
            part = 0.9 - 0.7 / (double)(layer + 1);   /* rising below 0.9 for any depth */
        p->depth = trunk_end + (double)step + part;
        p->kind = hidden ? "output" : "other";
        if (hidden) snprintf(p->tic, sizeof p->tic, "step %" PRId64, step);
    } else if (strcmp(name, "embeddings") == 0) {
        *p = (place){0, "output", "embed"};
    } else if (strcmp(name, "norm") == 0) {
        *p = (place){(double)layers + 1, "output", "norm"};
    } else if (strcmp(name, "logits") == 0) {
        *p = (place){(double)layers + 2, "output", "logits"};
    } else if (strstr(name, "soft_tokens")) {
        *p = (place){-0.25, "other", ""};   /* on the way to the embeddings */
    } else if (starts(name, "vision/")) {
        p->depth = -1 + 0.7 * fraction(name, G4_TAP_patch_ln1, G4_TAP_vision_soft_tokens, 0, 0);
    } else {
        p->depth = trunk_end;               /* what the drafter starts from */
        if (strcmp(name, "hidden_last") == 0) *p = (place){trunk_end, "output", "start"};
    }
    return 1;
}

static int64_t count_layers(const g4_compare *c)
{
    int64_t layers = 0, l;
    for (size_t i = 0; i < g4_compare_count(c); i++)
        if (sscanf(g4_compare_at(c, i)->set->path, "activations/layers/%" SCNd64, &l) == 1 &&
            l >= layers)
            layers = l + 1;
    return layers;
}

/* ---- the table ---- */

static g4_status put_number(g4_out *f, double x, g4_err *err)
{
    if (isfinite(x)) return g4_out_printf(f, err, ",%.9g", x);
    return g4_out_printf(f, err, ",NaN");
}

static g4_status put_row(g4_out *f, const g4_compare_row *r, const place *p, g4_err *err)
{
    const g4_diff *d = &r->diff;
    G4_TRY(g4_out_printf(f, err, "%.4f,%s,%s,%s", p->depth, p->kind, p->tic, r->set->path));
    G4_TRY(put_number(f, d->max_abs, err));
    G4_TRY(put_number(f, d->relative_l2, err));
    G4_TRY(put_number(f, d->cosine, err));
    G4_TRY(put_number(f, r->bound, err));
    G4_TRY(put_number(f, r->theirs, err));
    return g4_out_printf(f, err, ",%d,%d\n", isfinite(d->max_abs) && isfinite(d->relative_l2),
                         r->held);
}

static g4_status write_table(const g4_compare *c, const char *path, size_t *rows, g4_err *err)
{
    g4_out f;
    place p;
    int64_t layers = count_layers(c);
    G4_TRY(g4_out_open(&f, path, err));
    g4_status s = g4_out_printf(&f, err, "depth,kind,tic,dataset,max_abs,relative_l2,cosine,"
                                "bound,theirs,finite,held\n");
    *rows = 0;
    for (int output = 1; output >= 0; output--)   /* outputs first: they are joined by a line */
        for (size_t i = 0; s == G4_OK && i < g4_compare_count(c); i++) {
            const g4_compare_row *r = g4_compare_at(c, i);
            if (!r->compared || !place_of(r->set, layers, &p)) continue;
            if ((strcmp(p.kind, "output") == 0) != output) continue;
            s = put_row(&f, r, &p, err);
            ++*rows;
        }
    if (s == G4_OK && *rows > 0) s = g4_out_commit(&f, err);
    g4_out_abort(&f);
    return s;
}

/* ---- the script ---- */

/* "name = 'text'": a single-quoted gnuplot string, where nothing is special but
 * the quote.  A relative path gets "./", as gnuplot starts a command for names
 * beginning with '|' and '<'.  Cut where buf ends. */
static void quote(char *buf, size_t size, const char *name, const char *text, int is_path)
{
    size_t at = (size_t)snprintf(buf, size, "%s = '%s", name,
                                 is_path && text[0] != '/' ? "./" : "");
    for (; *text && at + 4 < size; text++) {
        if (*text == '\'') buf[at++] = '\'';
        buf[at++] = (unsigned char)*text < 0x20 ? '?' : *text;
    }
    buf[at++] = '\'';
    buf[at] = 0;
}

static g4_status put_string(g4_out *f, const char *name, const char *text, int is_path,
                            g4_err *err)
{
    char line[2 * MAX_NAME + 64];
    quote(line, sizeof line, name, text, is_path);
    return g4_out_printf(f, err, "%s\n", line);
}

static const char *text_or(const g4_golden *g, const char *name)
{
    const char *t = g4_golden_text(g, name);
    return t ? t : "not named";
}

static g4_status write_script(const g4_compare *c, const char *path, const char *dat,
                              const char *out, const char *axis, g4_err *err)
{
    g4_out f;
    char head[512];
    const g4_golden *g = g4_compare_golden(c);
    snprintf(head, sizeof head, "error by depth: case %.100s, %.10s, against %.200s",
             text_or(g, "case"), text_or(g, "dtype"), text_or(g, "producer"));
    G4_TRY(g4_out_open(&f, path, err));
    g4_status s = g4_out_printf(&f, err, "# Made by gemma4 compare --plot; draw again with: "
                                "gnuplot this-file\n");
    if (s == G4_OK) s = put_string(&f, "dat", dat, 1, err);
    if (s == G4_OK) s = put_string(&f, "if (!exists('out')) out", out, 1, err);
    if (s == G4_OK) s = put_string(&f, "head", head, 0, err);
    if (s == G4_OK) s = put_string(&f, "axis", axis, 0, err);
    if (s == G4_OK) s = g4_out_write(&f, g4_plot_script(), strlen(g4_plot_script()), err);
    if (s == G4_OK) s = g4_out_commit(&f, err);
    g4_out_abort(&f);
    return s;
}

/* Draws into temp.  No shell: names are arguments.  What gnuplot says is not
 * shown; the script is there to be run again. */
static g4_status run_gnuplot(const char *script, const char *temp, const char *picture,
                             g4_err *err)
{
    enum { NOT_FOUND = 127, SECONDS = 60 };
    char set[2 * MAX_NAME], name[MAX_NAME + 4];
    int how = 0;
    snprintf(name, sizeof name, "%s%s", script[0] == '/' ? "" : "./", script);
    quote(set, sizeof set, "out", temp, 1);
    pid_t got, pid = fork();
    if (pid < 0) return g4_fail(err, G4_EIO, "gnuplot: cannot start: %s", strerror(errno));
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        if (null >= 0) {
            dup2(null, STDIN_FILENO);
            dup2(null, STDOUT_FILENO);
            dup2(null, STDERR_FILENO);
        }
        alarm(SECONDS);
        execlp("gnuplot", "gnuplot", "-e", set, name, (char *)NULL);
        _exit(NOT_FOUND);
    }
    do got = waitpid(pid, &how, 0);
    while (got < 0 && errno == EINTR);
    if (got == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0) return G4_OK;
    if (got == pid && WIFEXITED(how) && WEXITSTATUS(how) == NOT_FOUND)
        return g4_fail(err, G4_EINPUT, "%s: gnuplot is not installed (Debian: gnuplot-nox); its "
                       "script and table are written", picture);
    return g4_fail(err, G4_EINPUT, "%s: gnuplot failed; run `gnuplot %s` to see why", picture,
                   script);
}

g4_status g4_plot_compare(const g4_compare *c, const char *path, g4_err *err)
{
    char dat[MAX_NAME], gp[MAX_NAME], temp[MAX_NAME];
    size_t rows;
    G4_TRY(g4_plot_check(path, err));
    int stem = (int)strlen(path) - 4;
    snprintf(dat, sizeof dat, "%.*s.dat", stem, path);
    snprintf(gp, sizeof gp, "%.*s.gp", stem, path);
    /* its own name for each run: two at once, or a user's F.tmp.svg, stay apart */
    snprintf(temp, sizeof temp, "%.*s.%ld.tmp%s", stem, path, (long)getpid(), path + stem);
    G4_TRY(write_table(c, dat, &rows, err));
    if (rows == 0)
        return g4_fail(err, G4_EINPUT, "%s: no activations were compared, nothing to draw", path);
    G4_TRY(write_script(c, gp, dat, path, count_layers(c) ? "layer" : "draft step", err));
    g4_status s = run_gnuplot(gp, temp, path, err);
    if (s == G4_OK) s = g4_file_replace(temp, path, err);
    if (s != G4_OK) unlink(temp);
    return s;
}
