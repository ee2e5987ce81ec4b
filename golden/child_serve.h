/* SPDX-License-Identifier: Apache-2.0
 * The child's side of child.h. */
#ifndef G4_GOLDEN_CHILD_SERVE_H
#define G4_GOLDEN_CHILD_SERVE_H

/* Opens path, seals itself, serves fd until it closes: a g4_child_body. */
void g4_child_serve(int fd, void *path);

#endif
