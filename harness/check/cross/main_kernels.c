/* SPDX-License-Identifier: Apache-2.0
 * The kernel cases without libcheck, for machines that have nothing installed (an
 * emulator, a bare ARM board): prints the digests of the definitions in the form
 * of kernels_opt/kernels.sha256 and, as comments on stderr, each kernel's verdict.
 * Exit status 1 if a kernel's digest is not its definition's. */
#include "harness/check/kernel_cases.h"
#include "kernels_opt/kernels.h"
#include "kernels_opt/panel.h"
#include "ref/dtype/dtype.h"

#include <stdio.h>
#include <string.h>

static int failed;

static void digest(const g4_ops *ops, const char *op, int dtype, char hex[G4_SHA256_HEX])
{
    char fault[KERNEL_TEXT];
    if (kernel_digest(ops, op, (g4_dtype)dtype, hex, fault)) {
        fprintf(stderr, "%s\n", fault);
        failed = 1;
    }
}

static void one_op(const char *op, int dtype)
{
    char want[G4_SHA256_HEX] = "", have[G4_SHA256_HEX] = "", isa[G4_ISA_TEXT];
    const char *format = g4_dtype_get((g4_dtype)dtype)->name;
    g4_ops ref = g4_ops_definitions();
    int count, any = strncmp(op, "linear", 6) != 0;
    const g4_kernel *k = g4_kernels(&count);
    for (int i = 0; i < count; i++)
        any |= strcmp(k[i].op, op) == 0 && strcmp(k[i].dtype, format) == 0;
    if (!any) return;   /* unpacked by the definition: nothing of its own to attest */
    digest(&ref, op, dtype, want);
    printf("%s  %s_%s\n", want, op, format);
    for (int i = 0; i < count; i++) {
        if (strcmp(k[i].op, op) != 0 || strcmp(k[i].dtype, format) != 0) continue;
        g4_isa_print(isa, k[i].isa);
        if (!(k[i].isa & g4_cpu_isas())) {
            fprintf(stderr, "not run   g4_%s_%s_%s\n", op, format, isa);
            continue;
        }
        g4_ops fast = ref;
        k[i].put(&fast);
        digest(&fast, op, dtype, have);
        int same = strcmp(want, have) == 0;
        fprintf(stderr, "%s g4_%s_%s_%s\n", same ? "same bits" : "DIFFERS  ", op, format, isa);
        failed |= !same;
    }
}

int main(void)
{
    static const char *const ops[] = {
        "round_x", "round_pair", "rmsnorm", "layernorm", "rope", "attend", "attend_span",
        "span_merge", "gelu_mul", "add_scale", "softcap",
    };
    for (int d = 0; d < G4_DTYPE_COUNT; d++) one_op("linear", d);
    for (int d = 0; d < G4_DTYPE_COUNT; d++)
        if (g4_panel_format_get((g4_dtype)d).blocks) one_op("linear_panel", d);
    one_op("linear_pair", G4_BF16);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) one_op(ops[i], G4_F32);
    return failed;
}
