/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels_opt/cpu.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned isa;
} names[] = {
    { "c", G4_ISA_c },
    { "avx2", G4_ISA_avx2 },
    { "avxvnni", G4_ISA_avxvnni },
    { "avx512", G4_ISA_avx512 },
    { "vnni", G4_ISA_vnni },
    { "avx512bf16", G4_ISA_avx512bf16 },
    { "amx", G4_ISA_amx },
    { "neon", G4_ISA_neon },
    { "dotprod", G4_ISA_dotprod },
};

enum { NAMES = sizeof names / sizeof *names };

#if defined(__x86_64__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Which register files the operating system saves at a context switch: XCR0,
 * bits 1, 2 xmm and ymm; 5, 6, 7 mask registers and zmm. */
static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Linux lets a process use tiles once it has asked for the room they take when saved:
 * arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), from 5.16 on. */
static int tiles_granted(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}

unsigned g4_cpu_isas(void)
{
    enum { TILES = 1 << 17 | 1 << 18, AMX = 1 << 24 | 1 << 25 };   /* of XCR0; of CPUID 7, edx */
    enum { YMM = 0x6, ZMM = 0xe6, AVX_VNNI = 1 << 4, AVX512_BF16 = 1 << 5 };
    unsigned a, b, c, d, a7 = 0, b7, c7, d7, isas = G4_ISA_c;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return isas;
    if (!(c & bit_OSXSAVE) || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return isas;
    uint64_t saved = saved_state();
    const unsigned avx2_1 = bit_AVX | bit_FMA | bit_F16C;
    const unsigned avx512_7 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    if ((c & avx2_1) != avx2_1 || !(b7 & bit_AVX2) || (saved & YMM) != YMM) return isas;
    isas |= G4_ISA_avx2;
    if (!__get_cpuid_count(7, 1, &a7, &b, &c, &d)) a7 = 0;
    if (a7 & AVX_VNNI) isas |= G4_ISA_avxvnni;
    if ((b7 & avx512_7) != avx512_7 || (saved & ZMM) != ZMM) return isas;
    isas |= G4_ISA_avx512;
    if (c7 & bit_AVX512VNNI) isas |= G4_ISA_vnni;
    if (a7 & AVX512_BF16) isas |= G4_ISA_avx512bf16;
    if (isas & G4_ISA_vnni && (d7 & AMX) == AMX && (saved & TILES) == TILES && tiles_granted())
        isas |= G4_ISA_amx;
    return isas;
}

#elif defined(__aarch64__)

#include <asm/hwcap.h>
#include <sys/auxv.h>

unsigned g4_cpu_isas(void)
{
    unsigned long have = getauxval(AT_HWCAP);
    if (!(have & HWCAP_ASIMD)) return G4_ISA_c;
    return G4_ISA_c | G4_ISA_neon | (have & HWCAP_ASIMDDP ? G4_ISA_dotprod : 0u);
}

#else

unsigned g4_cpu_isas(void)
{
    return G4_ISA_c;
}

#endif

const char *g4_isa_print(char text[G4_ISA_TEXT], unsigned isas)
{
    size_t at = 0;
    for (int i = 0; i < NAMES; i++) {   /* all names and their commas are 54 letters: they fit */
        if (!(isas & names[i].isa)) continue;
        if (at) text[at++] = ',';
        size_t n = strlen(names[i].name);
        memcpy(text + at, names[i].name, n);
        at += n;
    }
    text[at] = 0;
    return text;
}

g4_status g4_isa_parse(unsigned *isas, const char *list, g4_err *err)
{
    unsigned have = g4_cpu_isas(), want = 0;
    char all[G4_ISA_TEXT];
    for (const char *p = list; p;) {
        size_t n = strcspn(p, ",");
        unsigned isa = 0;
        for (int i = 0; i < NAMES; i++)
            if (strlen(names[i].name) == n && memcmp(names[i].name, p, n) == 0)
                isa = names[i].isa;
        if (!isa)
            return g4_fail(err, G4_EINPUT, "--isa %s: unknown name '%.*s' (known: %s)", list,
                           n > 40 ? 40 : (int)n, p, g4_isa_print(all, G4_ISA_ALL));
        if (!(isa & have))
            return g4_fail(err, G4_EINPUT, "--isa %s: this CPU has no '%.*s' (it has: %s)", list,
                           (int)n, p, g4_isa_print(all, have));
        want |= isa;
        p = p[n] ? p + n + 1 : NULL;
    }
    *isas = list ? want : have;
    return G4_OK;
}
