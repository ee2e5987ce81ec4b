/* SPDX-License-Identifier: Apache-2.0
 * Only async-signal-safe calls: open, read, write, _exit.  The name of the file
 * comes from /proc/self/maps, so that no table of mappings has to be global. */
#include "harness/sigbus.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

typedef struct line_reader {
    int fd;
    size_t at, fill;
    char buf[4096];
} line_reader;

/* One line without its end, cut at size; 0 at the end of the file. */
static int read_line(line_reader *r, char *line, size_t size)
{
    size_t len = 0;
    for (;;) {
        if (r->at == r->fill) {
            ssize_t n = read(r->fd, r->buf, sizeof r->buf);
            if (n <= 0) return 0;
            r->at = 0;
            r->fill = (size_t)n;
        }
        char c = r->buf[r->at++];
        if (c == '\n') break;
        if (len + 1 < size) line[len++] = c;
    }
    line[len] = 0;
    return 1;
}

static const char *parse_hex(const char *p, uintptr_t *out)
{
    *out = 0;
    for (;; p++) {
        int d = *p >= '0' && *p <= '9' ? *p - '0' : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 : -1;
        if (d < 0) return p;
        *out = *out << 4 | (uintptr_t)d;
    }
}

/* The path in the line "begin-end perms offset dev inode   path" that holds addr. */
static int mapped_file(uintptr_t addr, char *line, size_t size, const char **path)
{
    line_reader r = { .fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC) };
    int found = 0;
    while (r.fd >= 0 && !found && read_line(&r, line, size)) {
        uintptr_t begin, end;
        const char *p = parse_hex(line, &begin);
        if (*p == '-') (void)parse_hex(p + 1, &end);
        else continue;
        const char *slash = strchr(line, '/');
        if (addr < begin || addr >= end || !slash) continue;
        *path = slash;
        found = 1;
    }
    if (r.fd >= 0) close(r.fd);
    return found;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    static const char tail[] = ": shrank or cannot be read any more while it was mapped\n";
    char line[4096 + 256], out[sizeof line + sizeof tail + 16] = "gemma4: ";
    const char *path = "a mapped file";
    (void)sig;
    (void)context;
    if (!mapped_file((uintptr_t)info->si_addr, line, sizeof line, &path)) path = "a mapped file";
    size_t at = strlen(out), n = strlen(path);
    for (size_t i = 0; i < n; i++) {   /* nothing that a terminal would obey */
        unsigned char c = (unsigned char)path[i];
        out[at++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    memcpy(out + at, tail, sizeof tail - 1);
    ssize_t written = write(2, out, at + sizeof tail - 1);
    (void)written;
    _exit(2);
}

void g4_sigbus_install(void)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = on_sigbus;
    sa.sa_flags = SA_SIGINFO | (int)SA_RESETHAND;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGBUS, &sa, NULL);
    /* A reader that left (`| head`) is then an error of write, with a message. */
    sa.sa_flags = 0;
    sa.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &sa, NULL);
    sigaction(SIGXFSZ, &sa, NULL);   /* `ulimit -f`, in the same way */
}
