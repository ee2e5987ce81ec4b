/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/plot.h"

#include "harness/interrupt.h"
#include "ref/base/map.h"
#include "ref/model/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_NAME = 1024, MAX_LABELS = 24 };   /* of a path; of layers on the axis */
enum { TABLE, SCRIPT, PICTURE, FILES };       /* in the order in which they take their places */

/* Where a dataset stands in the picture.  Trunk: embeddings 0, layer l's output
 * l + 1, its modules between l and l + 1; then norm and logits.  Draft step s:
 * its modules between s and s + 1, `hidden` at s + 1. */
typedef struct place {
    double depth;
    const char *kind;        /* output, norm, attention, mlp, other */
    char tic[16];
} place;

/* Asked before any work is done: a comparison may take minutes. */
static int installed(const char *program)
{
    char path[PATH_MAX];
    const char *dir = getenv("PATH");
    while (dir && *dir) {
        size_t len = strcspn(dir, ":");
        int n = snprintf(path, sizeof path, "%.*s%s%s", (int)len, dir, len ? "/" : "./", program);
        if (n < (int)sizeof path && g4_path_kind(path) == 1 && access(path, X_OK) == 0) return 1;
        dir += len + (dir[len] == ':');
    }
    return 0;
}

g4_status g4_plot_check(const char *path, g4_err *err)
{
    size_t len = strlen(path);
    int ok = len > 4 && len < MAX_NAME / 2 &&
             (strcmp(path + len - 4, ".svg") == 0 || strcmp(path + len - 4, ".png") == 0);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)path[i] < 0x20) ok = 0;   /* would end a line of the script */
    if (!ok)
        return g4_fail(err, G4_EINPUT, "%s: --plot needs a file name ending in .svg or .png", path);
    if (!installed("gnuplot"))
        return g4_fail(err, G4_EINPUT, "%s: --plot needs gnuplot, which is not installed (Debian: "
                       "gnuplot-nox)", path);
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

static g4_status write_table(const g4_compare *c, g4_out *f, g4_err *err)
{
    place p;
    size_t rows = 0;
    int64_t layers = count_layers(c);
    G4_TRY(g4_out_printf(f, err, "depth,kind,tic,dataset,max_abs,relative_l2,cosine,"
                         "bound,theirs,finite,held\n"));
    for (int output = 1; output >= 0; output--)   /* outputs first: they are joined by a line */
        for (size_t i = 0; i < g4_compare_count(c); i++) {
            const g4_compare_row *r = g4_compare_at(c, i);
            if (!r->compared || !place_of(r->set, layers, &p)) continue;
            if ((strcmp(p.kind, "output") == 0) != output) continue;
            G4_TRY(put_row(f, r, &p, err));
            rows++;
        }
    if (rows == 0)
        return g4_fail(err, G4_EINPUT, "%s: no activations were compared, nothing to draw",
                       f->path);
    return g4_out_finish(f, err);
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

/* The names that stay; while drawing, gnuplot is told those of now. */
static g4_status write_script(const g4_compare *c, g4_out *f, const char *dat, const char *out,
                              g4_err *err)
{
    char head[512];
    const g4_golden *g = g4_compare_golden(c);
    snprintf(head, sizeof head, "error by depth: case %.100s, %.10s, against %.200s",
             text_or(g, "case"), text_or(g, "dtype"), text_or(g, "producer"));
    G4_TRY(g4_out_printf(f, err, "# Made by gemma4 compare --plot; draw again with: "
                         "gnuplot this-file\n"));
    G4_TRY(put_string(f, "if (!exists('dat')) dat", dat, 1, err));
    G4_TRY(put_string(f, "if (!exists('out')) out", out, 1, err));
    G4_TRY(put_string(f, "head", head, 0, err));
    G4_TRY(put_string(f, "axis", count_layers(c) ? "layer" : "draft step", 0, err));
    G4_TRY(g4_out_write(f, g4_plot_script(), strlen(g4_plot_script()), err));
    return g4_out_finish(f, err);
}

/* ---- drawing ---- */

typedef struct drawing {
    g4_out file[FILES];
    char name[FILES][MAX_NAME];
    sigset_t before;         /* signals let through; held while there are temporary files */
} drawing;

/* Reads to the end of what gnuplot says.  A table that it cannot open is a warning to it: it
 * leaves the curve out and goes on. */
static int skips_a_table(int fd)
{
    static const char warning[] = "Cannot find or open file";
    char text[4096 + sizeof warning];
    size_t kept = 0;
    int found = 0;
    for (;;) {
        ssize_t n = read(fd, text + kept, 4096);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return found;
        text[kept + (size_t)n] = 0;
        found |= strstr(text, warning) != NULL;
        kept += (size_t)n;
        size_t tail = kept < sizeof warning ? kept : sizeof warning - 1;
        memmove(text, text + kept - tail, tail);
        kept = tail;
    }
}

/* No shell: names are arguments.  What gnuplot says is not shown: it would name
 * temporary files. */
static g4_status run_gnuplot(const drawing *d, g4_err *err)
{
    enum { NOT_STARTED = 127, SECONDS = 60 };
    char dat[2 * MAX_NAME], out[2 * MAX_NAME], gp[MAX_NAME + 32];
    const char *picture = d->name[PICTURE], *script = d->file[SCRIPT].temp;
    char *png = strcmp(picture + strlen(picture) - 4, ".png") == 0 ? "png = 1" : "png = 0";
    int how = 0, said[2];
    snprintf(gp, sizeof gp, "%s%s", script[0] == '/' ? "" : "./", script);
    quote(dat, sizeof dat, "dat", d->file[TABLE].temp, 1);
    quote(out, sizeof out, "out", d->file[PICTURE].temp, 1);
    if (pipe(said) != 0)
        return g4_fail(err, G4_EIO, "%s: cannot start gnuplot: %s", picture, strerror(errno));
    pid_t got, pid = fork();
    if (pid < 0) {
        close(said[0]);
        close(said[1]);
        return g4_fail(err, G4_EIO, "%s: cannot start gnuplot: %s", picture, strerror(errno));
    }
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        if (null >= 0) {
            dup2(null, STDIN_FILENO);
            dup2(null, STDOUT_FILENO);
        }
        dup2(said[1], STDERR_FILENO);
        close(said[0]);
        close(said[1]);
        g4_interrupt_release(&d->before);
        alarm(SECONDS);
        execlp("gnuplot", "gnuplot", "-e", dat, "-e", out, "-e", png, gp, (char *)NULL);
        _exit(NOT_STARTED);
    }
    close(said[1]);
    int skips = skips_a_table(said[0]);
    close(said[0]);
    do got = waitpid(pid, &how, 0);
    while (got < 0 && errno == EINTR);
    if (got == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0 && !skips) return G4_OK;
    if (got == pid && WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return g4_fail(err, G4_EIO, "%s: gnuplot could not read its table", picture);
    if (got == pid && WIFEXITED(how))
        return g4_fail(err, G4_EINPUT, "%s: gnuplot failed (exit %d)", picture, WEXITSTATUS(how));
    return g4_fail(err, G4_EINPUT, "%s: gnuplot was ended by signal %d", picture,
                   got == pid ? WTERMSIG(how) : 0);
}

/* gnuplot does not look whether its writes succeed: a full disk gives a piece.
 * The last chunk of PNG, CRC included, or the last line of gnuplot's SVG. */
static g4_status whole_picture(const drawing *d, g4_err *err)
{
    enum { LONGEST = 16 };   /* blank lines may follow */
    static const char *const ends[] = { "IEND\xae\x42\x60\x82", "</svg>" };
    char tail[LONGEST];
    struct stat st;
    int fd = d->file[PICTURE].fd, whole = 0;
    ssize_t got;
    if (fstat(fd, &st) != 0)
        return g4_fail(err, G4_EIO, "%s: cannot stat: %s", d->name[PICTURE], strerror(errno));
    off_t at = st.st_size < LONGEST ? 0 : st.st_size - LONGEST;
    do got = pread(fd, tail, sizeof tail, at);
    while (got < 0 && errno == EINTR);
    while (got > 0 && tail[got - 1] == '\n') got--;
    for (int i = 0; i < 2; i++) {
        ssize_t n = (ssize_t)strlen(ends[i]);
        whole |= got >= n && memcmp(tail + got - n, ends[i], (size_t)n) == 0;
    }
    if (whole) return G4_OK;
    return g4_fail(err, G4_EIO, "%s: gnuplot wrote only a part of it", d->name[PICTURE]);
}

/* Last come the renames, which hardly fail once all else has succeeded; should one,
 * then files that were not there before go again. */
static g4_status commit(drawing *d, g4_err *err)
{
    int fresh[FILES];
    g4_status s = g4_out_finish(&d->file[PICTURE], err);
    for (int i = 0; s == G4_OK && i < FILES; i++) {
        fresh[i] = g4_path_kind(d->name[i]) == 0;
        s = g4_out_commit(&d->file[i], err);
        if (s == G4_OK) continue;
        for (int k = 0; k < i; k++)
            if (fresh[k]) unlink(d->name[k]);
    }
    return s;
}

static g4_status draw(const g4_compare *c, drawing *d, g4_err *err)
{
    for (int i = 0; i < FILES; i++) G4_TRY(g4_out_open(&d->file[i], d->name[i], err));
    G4_TRY(write_table(c, &d->file[TABLE], err));
    G4_TRY(write_script(c, &d->file[SCRIPT], d->name[TABLE], d->name[PICTURE], err));
    G4_TRY(run_gnuplot(d, err));
    G4_TRY(whole_picture(d, err));
    return commit(d, err);
}

g4_status g4_plot_compare(const g4_compare *c, const char *path, g4_err *err)
{
    static const char *const kinds[FILES] = { ".dat", ".gp", "" };
    drawing d = { .file = { G4_OUT_NONE, G4_OUT_NONE, G4_OUT_NONE } };
    G4_TRY(g4_plot_check(path, err));
    int len = (int)strlen(path);
    for (int i = 0; i < FILES; i++)
        snprintf(d.name[i], MAX_NAME, "%.*s%s", i == PICTURE ? len : len - 4, path, kinds[i]);
    g4_interrupt_hold(&d.before);
    g4_status s = draw(c, &d, err);
    for (int i = 0; i < FILES; i++) g4_out_abort(&d.file[i]);
    g4_interrupt_release(&d.before);
    return s;
}
