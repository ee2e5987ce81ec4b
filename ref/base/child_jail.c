/* SPDX-License-Identifier: Apache-2.0
 * Everything here runs in the child.  Confinement is layered: a bound on
 * memory, no writing, no core file, and once it is sealed no system call
 * that opens, connects, starts or executes anything (seccomp; where the kernel
 * or an emulator has none, the other layers stand). */
#include "ref/base/child.h"
#include "ref/base/child_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Address space beyond what the parent had: one block, a chunk packed and
 * unpacked (256 MiB each at most) or some pictures, and the library's own. */
static const uint64_t MEMORY = 2u << 30;
enum { FRAME = 1 << 20 };

static int send_all(int fd, const void *data, size_t size)
{
    const unsigned char *p = data;
    while (size > 0) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The parent is gone when a send fails: nobody is left to tell. */
static void send_frame(int fd, g4_status status, const void *data, size_t size)
{
    g4_frame f = {(int32_t)status, (uint32_t)size};
    if (send_all(fd, &f, sizeof f) != 0 || send_all(fd, data, size) != 0) _exit(0);
}

void g4_child_send(int fd, const void *data, size_t size)
{
    const unsigned char *p = data;
    do {
        size_t n = size < FRAME ? size : FRAME;
        send_frame(fd, G4_OK, p, n);
        p += n;
        size -= n;
    } while (size > 0);
}

void g4_child_send_error(int fd, const g4_err *err)
{
    send_frame(fd, err->code, err->msg, strlen(err->msg));
}

/* Bounds that hold from the start.  The parent's handlers must not speak for
 * a crash in here, nor may anything but the answer reach the terminal. */
void g4_child_limit(pid_t parent)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGINT, SIGTERM};
    unsigned long long pages = 0;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, STDERR_FILENO);
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm) {
        if (fscanf(statm, "%llu", &pages) != 1) pages = 0;
        fclose(statm);
    }
    struct rlimit none = {0, 0}, as;
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);
    if (pages > 0) {
        as.rlim_cur = as.rlim_max = (rlim_t)(pages * (uint64_t)sysconf(_SC_PAGESIZE) + MEMORY);
        setrlimit(RLIMIT_AS, &as);
    }
}

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

/* Denied calls fail with EPERM, so a library that tries one gives an error. */
void g4_child_seal(void)
{
#ifdef THIS_ARCH
#define DENY(nr)                                        \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1),    \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef __x86_64__
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),   /* x32 numbers */
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        DENY(SYS_open), DENY(SYS_creat), DENY(SYS_fork), DENY(SYS_vfork), DENY(SYS_unlink),
        DENY(SYS_rename),
#endif
        DENY(SYS_openat), DENY(SYS_socket), DENY(SYS_connect), DENY(SYS_clone),
        DENY(SYS_execve), DENY(SYS_execveat), DENY(SYS_unlinkat), DENY(SYS_renameat2),
        DENY(SYS_ptrace), DENY(SYS_kill), DENY(SYS_ftruncate),
#ifdef SYS_openat2
        DENY(SYS_openat2),
#endif
#ifdef SYS_clone3
        DENY(SYS_clone3),
#endif
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
#undef DENY
    struct sock_fprog prog = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
#endif
}
