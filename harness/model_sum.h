/* SPDX-License-Identifier: Apache-2.0
 * Which model it was, for journals: a fingerprint of its files that takes no time. */
#ifndef G4_HARNESS_MODEL_SUM_H
#define G4_HARNESS_MODEL_SUM_H

#include "ref/base/err.h"
#include "ref/base/sha256.h"

/* Of a model's files: their sizes, the whole of small ones, the first 64 KiB and 256 pages
 * of 4 KiB all over a large one (reading 24 GB would take minutes). */
g4_status g4_model_sum(const char *path, char hex[G4_SHA256_HEX], g4_err *err);

/* One file in that way, or all those of a folder (the frames of a video, say). */
g4_status g4_sum_path(g4_sha256 *sha, const char *path, g4_err *err);

#endif
