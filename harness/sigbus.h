/* SPDX-License-Identifier: Apache-2.0
 * The one signal that a healthy run can meet: a mapped weight file that shrank
 * (or whose disk failed) raises SIGBUS at the next touch.  The handler says
 * which file it was, in one line, and ends the process with exit code 2. */
#ifndef G4_HARNESS_SIGBUS_H
#define G4_HARNESS_SIGBUS_H

void g4_sigbus_install(void);

#endif
