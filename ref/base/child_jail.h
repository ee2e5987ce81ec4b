/* SPDX-License-Identifier: Apache-2.0
 * The child's side of child.h, shared by its two source files. */
#ifndef G4_BASE_CHILD_JAIL_H
#define G4_BASE_CHILD_JAIL_H

#include <stdint.h>
#include <sys/types.h>

typedef struct g4_frame {
    int32_t status;    /* g4_status */
    uint32_t bytes;    /* that follow */
} g4_frame;

/* Bounds that hold from the start of the child. */
void g4_child_limit(pid_t parent);

#endif
