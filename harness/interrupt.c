/* SPDX-License-Identifier: Apache-2.0 */
#include "harness/interrupt.h"

#include <pthread.h>

static const int ending[] = { SIGINT, SIGTERM, SIGHUP };

enum { COUNT = sizeof ending / sizeof *ending };

void g4_interrupt_hold(sigset_t *before)
{
    sigset_t mine;
    struct sigaction now;
    sigemptyset(&mine);
    for (int i = 0; i < COUNT; i++)   /* one that nohup ignores would stay pending, were it held */
        if (sigaction(ending[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&mine, ending[i]);
    pthread_sigmask(SIG_BLOCK, &mine, before);
}

int g4_interrupt_pending(void)
{
    sigset_t pending;
    int found = 0;
    if (sigpending(&pending) != 0) return 0;
    for (int i = 0; i < COUNT; i++) found |= sigismember(&pending, ending[i]) == 1;
    return found;
}

void g4_interrupt_take(void)
{
    const struct timespec now = { 0 };
    sigset_t mine;
    sigemptyset(&mine);
    for (int i = 0; i < COUNT; i++) sigaddset(&mine, ending[i]);
    while (g4_interrupt_pending() && sigtimedwait(&mine, NULL, &now) > 0) {}
}

void g4_interrupt_release(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}
