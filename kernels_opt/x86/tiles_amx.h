/* SPDX-License-Identifier: Apache-2.0
 * The few tile instructions that are used, or what they do in plain C: so that the kernel
 * around them is tested on CPUs without AMX (harness/check/amx_emulated.c).  tile_dot:
 * c[m][n] += sum_k a[m][4k..] . b[k][4n..], signed bytes, int32 sums. */
#ifndef G4_KERNELS_TILES_AMX_H
#define G4_KERNELS_TILES_AMX_H

#include <stdint.h>

enum { TILE_ROW = 64, TILE_ROWS = 16 };

/* What ldtilecfg reads: bytes a row and rows of each tile. */
typedef struct tile_config {
    uint8_t palette, start_row, zero[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config;

#ifndef G4_AMX_EMULATED

#include <immintrin.h>

typedef int tile_file;   /* the CPU has it */
#define tile_configure(file, config) ((void)(file), _tile_loadconfig(config))
#define tile_end(file) ((void)(file), _tile_release())
#define tile_load(file, n, p, stride) _tile_loadd(n, p, stride)
#define tile_store(file, n, p, stride) _tile_stored(n, p, stride)
#define tile_clear(file, n) _tile_zero(n)
#define tile_dot(file, c, a, b) _tile_dpbssd(c, a, b)

#else

#include <assert.h>
#include <string.h>

typedef struct tile_file {
    tile_config config;
    signed char data[8][TILE_ROWS][TILE_ROW];
} tile_file;

static void tile_configure(tile_file *f, const tile_config *config)
{
    assert(config->palette == 1 && config->start_row == 0);
    memset(f, 0, sizeof *f);
    f->config = *config;
}

static void tile_end(tile_file *f)
{
    memset(f, 0, sizeof *f);
}

static void tile_load(tile_file *f, int n, const void *p, int64_t stride)
{
    assert(f->config.rows[n] && f->config.bytes[n] <= TILE_ROW);
    memset(f->data[n], 0, sizeof f->data[n]);
    for (int r = 0; r < f->config.rows[n]; r++)
        memcpy(f->data[n][r], (const char *)p + r * stride, f->config.bytes[n]);
}

static void tile_store(tile_file *f, int n, void *p, int64_t stride)
{
    for (int r = 0; r < f->config.rows[n]; r++)
        memcpy((char *)p + r * stride, f->data[n][r], f->config.bytes[n]);
}

static void tile_clear(tile_file *f, int n)
{
    memset(f->data[n], 0, sizeof f->data[n]);
}

static void tile_dot(tile_file *f, int c, int a, int b)
{
    const tile_config *s = &f->config;
    assert(s->rows[c] == s->rows[a] && s->bytes[c] == s->bytes[b] && s->bytes[a] == 4 * s->rows[b]);
    for (int m = 0; m < s->rows[c]; m++)
        for (int n = 0; n < s->bytes[c] / 4; n++) {
            int32_t sum;
            memcpy(&sum, f->data[c][m] + 4 * n, 4);
            for (int k = 0; k < s->bytes[a]; k++)
                sum += f->data[a][m][k] * f->data[b][k / 4][4 * n + k % 4];
            memcpy(f->data[c][m] + 4 * n, &sum, 4);
        }
}

#endif
#endif
