/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/room.h"

#include "harness/pass.h"
#include "harness/text.h"
#include "ref/dtype/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- what there is ---- */

/* The number behind a word at the beginning of a line ("MemAvailable:"); word "": the file is
 * one number.  0: no such file or line; "max" and v1's way to say so are UINT64_MAX. */
static int read_number(const char *path, const char *word, uint64_t *v)
{
    char line[256];
    size_t len = strlen(word);
    int found = 0;
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    while (!found && fgets(line, sizeof line, f)) {
        unsigned long long n;
        if (strncmp(line, word, len) != 0) continue;
        found = sscanf(line + len, " %llu", &n) == 1;
        *v = n;
        if (len == 0 && strncmp(line, "max", 3) == 0) {
            *v = UINT64_MAX;
            found = 1;
        }
    }
    fclose(f);
    return found;
}

static void at_most(g4_room *r, uint64_t limit, uint64_t used, const char *why)
{
    uint64_t left = limit > used ? limit - used : 0;
    if (left < r->bytes) *r = (g4_room){ left, why };
}

static void of_machine(g4_room *r)
{
    uint64_t available, swap = 0;
    if (!read_number("/proc/meminfo", "MemAvailable:", &available)) return;
    (void)read_number("/proc/meminfo", "SwapFree:", &swap);
    at_most(r, 1024 * (available + swap), 0, "this machine");
}

static void of_process(g4_room *r)
{
    struct rlimit limit;
    uint64_t pages;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    if (!read_number("/proc/self/statm", "", &pages)) return;
    at_most(r, limit.rlim_cur, pages * (uint64_t)sysconf(_SC_PAGESIZE), "ulimit -v");
}

/* One group's folder: version 2, or 1 where the names are other ones. */
static void of_group(g4_room *r, const char *folder)
{
    static const struct { const char *limit, *used, *clean[2]; } versions[] = {
        { "memory.max", "memory.current", { "inactive_file ", "active_file " } },
        { "memory.limit_in_bytes", "memory.usage_in_bytes",
          { "total_inactive_file ", "total_active_file " } },
    };
    char path[G4_MAX_PATH + 64];
    for (int i = 0; i < 2; i++) {
        uint64_t limit, used, files = 0, n;
        snprintf(path, sizeof path, "%s/%s", folder, versions[i].limit);
        if (!read_number(path, "", &limit)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, versions[i].used);
        if (!read_number(path, "", &used)) continue;
        snprintf(path, sizeof path, "%s/memory.stat", folder);
        for (int k = 0; k < 2; k++)
            if (read_number(path, versions[i].clean[k], &n)) files += n;
        at_most(r, limit, used > files ? used - files : 0, "this control group");
    }
}

/* /proc/self/cgroup: "0::/a/b" (version 2) or "7:memory:/a/b"; each group above limits, too. */
static void of_groups(g4_room *r)
{
    char line[G4_MAX_PATH], folder[G4_MAX_PATH + 32];
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f) return;
    while (fgets(line, sizeof line, f)) {
        char *kind = strchr(line, ':'), *group = kind ? strchr(kind + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        group[strcspn(group, "\n")] = 0;
        int old = strcmp(kind, ":memory") == 0;
        if (!old && strcmp(kind, ":") != 0) continue;
        for (;;) {
            snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s", old ? "/memory" : "", group);
            of_group(r, folder);
            char *slash = strrchr(group, '/');
            if (!slash) break;
            *slash = 0;
        }
    }
    fclose(f);
}

g4_room g4_room_now(void)
{
    g4_room r = { UINT64_MAX, "" };
    of_machine(&r);
    of_process(&r);
    of_groups(&r);
    return r;
}

/* ---- what is needed ---- */

static uint64_t panel_bytes(const g4_runtime *rt)
{
    if (!rt->plan.stream) return 0;
    return g4_model_pack_bytes(rt->model, &rt->ops, NULL) +
           (rt->draft ? g4_model_pack_bytes(rt->draft, &rt->ops, NULL) : 0);
}

static uint64_t plan_bytes(const g4_runtime *rt, const g4_engine_plan *plan, int sessions)
{
    const g4_config *c = &rt->model->config;
    int threads = g4_par_threads(rt->par);
    uint64_t bytes = g4_engine_bytes(c, plan, &rt->ops, threads) +
                     (uint64_t)sessions * g4_session_bytes(c, plan);
    if (!rt->draft) return bytes;
    g4_engine_plan one = *plan;   /* drafts are one row */
    one.rows = one.logit_rows = 1;
    return bytes + g4_engine_bytes(&rt->draft->config, &one, &rt->ops, threads);
}

/* ---- what would fit ---- */

typedef struct need {
    const g4_runtime *rt;
    g4_engine_plan plan;
    int sessions;
    uint64_t other;           /* panels */
} need;

static uint64_t need_bytes(const need *n)
{
    return n->other + plan_bytes(n->rt, &n->plan, n->sessions);
}

/* The largest context of at most plan.ctx, in steps of 256; 0: none. */
static int64_t fitting_ctx(need n, uint64_t room)
{
    int64_t lo = 0, hi = (n.plan.ctx - 1) / 256;
    while (lo < hi) {
        int64_t middle = lo + (hi - lo + 1) / 2;
        n.plan.ctx = 256 * middle;
        if (need_bytes(&n) <= room) lo = middle;
        else hi = middle - 1;
    }
    return 256 * lo;
}

/* "--kv q8_0, or --ctx 8192 would fit" */
static void say_what_fits(char *text, size_t size, const need *n, uint64_t room)
{
    static const g4_dtype smaller[] = { G4_F16, G4_Q8_0 };
    const g4_command_row *row = n->rt->command;
    const char *kv = NULL;
    int64_t ctx = 0;
    need mapped = *n;
    mapped.other = 0;
    if (row && g4_command_takes(row, "kv"))
        for (int i = 0; i < 2 && !kv; i++) {
            need other = *n;
            other.plan.kv = smaller[i];
            if (need_bytes(&other) <= room) kv = g4_dtype_get(smaller[i])->name;
        }
    if (row && g4_command_takes(row, "ctx")) ctx = fitting_ctx(*n, room);
    if (kv && ctx) snprintf(text, size, "--kv %s, or --ctx %lld would fit", kv, (long long)ctx);
    else if (kv) snprintf(text, size, "--kv %s would fit", kv);
    else if (ctx) snprintf(text, size, "--ctx %lld would fit", (long long)ctx);
    else if (n->other && need_bytes(&mapped) <= room)
        snprintf(text, size, "--engine ref would fit");
    else snprintf(text, size, "no smaller context would fit");
}

static g4_status check(const need *n, g4_err *err)
{
    char want[32], have[32], fits[96], what[64];
    g4_room room = g4_room_now();
    uint64_t bytes = need_bytes(n);
    if (bytes <= room.bytes) return G4_OK;
    say_what_fits(fits, sizeof fits, n, room.bytes);
    if (n->plan.ctx > 1)
        snprintf(what, sizeof what, "a context of %lld tokens", (long long)n->plan.ctx);
    else snprintf(what, sizeof what, "--engine opt");
    return g4_fail(err, G4_ENOMEM, "%s: %s needs %s beside the mapped weights, %s has %s; %s",
                   n->rt->model->dir, what, g4_text_bytes(want, sizeof want, bytes), room.why,
                   g4_text_bytes(have, sizeof have, room.bytes), fits);
}

g4_status g4_room_for_plan(const g4_runtime *rt, const g4_engine_plan *plan, int sessions,
                           g4_err *err)
{
    const need n = { rt, *plan, sessions, 0 };
    return check(&n, err);
}

g4_status g4_room_for_model(const g4_runtime *rt, const g4_options *o, g4_err *err)
{
    need n = { rt, rt->plan, 1, panel_bytes(rt) };
    int64_t chunk = o->chunk > 0 ? o->chunk : G4_STREAM_CHUNK;
    n.plan.panels = n.other > 0;
    n.plan.ctx = o->ctx > 0 ? o->ctx : 1;
    n.plan.rows = chunk < n.plan.ctx ? chunk : n.plan.ctx;
    n.plan.logit_rows = 1;
    return check(&n, err);
}
