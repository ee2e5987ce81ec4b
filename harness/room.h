/* SPDX-License-Identifier: Apache-2.0
 * Is there memory for what a run is about to take?  Asked before it is taken, so that too
 * little is an error that says what would fit, and not the kernel's end of the process. */
#ifndef G4_HARNESS_ROOM_H
#define G4_HARNESS_ROOM_H

#include "harness/runtime.h"

typedef struct g4_room {
    uint64_t bytes;           /* that may still be taken; UINT64_MAX: nobody says */
    const char *why;          /* what sets the limit */
} g4_room;

/* The least of: what the kernel calls available and free swap, this process's limit of address
 * space, the limits of its control groups (what they hold of files can be let go). */
g4_room g4_room_now(void);

/* For the panels of rt's models (before g4_model_pack), and for the context where --ctx gives
 * one; else G4_ENOMEM. */
g4_status g4_room_for_model(const g4_runtime *rt, const g4_options *o, g4_err *err);

/* For an engine of that plan, its drafter's, and its sessions (before they are opened). */
g4_status g4_room_for_plan(const g4_runtime *rt, const g4_engine_plan *plan, int sessions,
                           g4_err *err);

#endif
