/* SPDX-License-Identifier: Apache-2.0
 * The child's side of child.h. */
#ifndef G4_GOLDEN_CHILD_SERVE_H
#define G4_GOLDEN_CHILD_SERVE_H

#include <stdint.h>
#include <sys/types.h>

typedef struct g4_frame {
    int32_t status;    /* g4_status */
    uint32_t bytes;    /* that follow */
} g4_frame;

/* Opens path, confines itself, serves fd until it closes.  Never returns. */
_Noreturn void g4_child_serve(int fd, const char *path, pid_t parent);

#endif
