/* SPDX-License-Identifier: Apache-2.0
 * Which instruction sets this CPU and its operating system offer, as a bit mask,
 * and the list a user gives with --isa.  Nothing is remembered: the mask is an
 * argument of g4_ops_select, so two tables of different ISAs can live side by side. */
#ifndef G4_KERNELS_CPU_H
#define G4_KERNELS_CPU_H

#include "ref/base/err.h"

/* Ascending: where two ISAs have a kernel for the same op, the later one is taken. */
typedef enum g4_isa {
    G4_ISA_c = 1 << 0,        /* the definitions, always there */
    G4_ISA_avx2 = 1 << 1,     /* AVX2 + FMA + F16C */
    G4_ISA_avxvnni = 1 << 2,  /* avx2 + AVX-VNNI, which has no need of AVX-512 */
    G4_ISA_avx512 = 1 << 3,   /* avx2 + AVX-512 F, BW, VL, DQ */
    G4_ISA_vnni = 1 << 4,     /* the above + AVX-512 VNNI */
    G4_ISA_avx512bf16 = 1 << 5,   /* avx512 + AVX-512 BF16 */
    G4_ISA_amx = 1 << 6,      /* vnni + AMX tiles of 8 bits, which the system grants */
    G4_ISA_neon = 1 << 7,     /* aarch64 */
    G4_ISA_dotprod = 1 << 8,  /* the above + the dot products of ARMv8.2 */
} g4_isa;

enum { G4_ISA_ALL = 511, G4_ISA_TEXT = 64 };

unsigned g4_cpu_isas(void);

/* "c,avx2" -> mask; NULL: all this CPU has.  An unknown name and one this CPU
 * lacks are G4_EINPUT. */
g4_status g4_isa_parse(unsigned *isas, const char *list, g4_err *err);

/* "c,avx2,avx512" */
const char *g4_isa_print(char text[G4_ISA_TEXT], unsigned isas);

#endif
