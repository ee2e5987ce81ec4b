# SPDX-License-Identifier: Apache-2.0
# Gemma 4 12B Unified in C.  `make help` is the index.
#
# One Makefile, no recursion into folders.  Sources come from wildcards; a test
# suite is a file harness/check/check_<unit>.c; ISA flags come from a kernel
# file's suffix.  Variants (clang, sanitizers, aarch64) are this same Makefile
# with another BUILD folder, CC and CFLAGS.
BUILD ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# V=1 shows whole compiler lines
Q := $(if $(V),,@)
# no: never install packages, only name them
DEPS ?= yes
PKGS := jansson hdf5 libpng sndfile
CFLAGS ?= -O3 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
# -ffp-contract=off: a compiler that fuses a multiply and an add changes bits.
BASE := -std=c11 -D_GNU_SOURCE -ffp-contract=off -I. -I$(BUILD)/gen $(WARN)
# Asked when first used, not when this file is read: `make check` may install them.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell $(PKG_CONFIG) --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(shell $(PKG_CONFIG) --libs $(PKGS)))$(PKG_LIBS)
CHECK_LIBS = $(shell $(PKG_CONFIG) --libs check)
ALL_LIBS = $(PKG_LIBS) -lm -lpthread $(LDLIBS)

MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
ARCH := $(patsubst aarch64,arm,$(patsubst x86_64,x86,$(MACHINE)))

LIB_SRC := $(wildcard ref/*/*.c kernels_opt/*.c kernels_opt/c/*.c kernels_opt/$(ARCH)/*.c \
             golden/*.c)
HARNESS_SRC := $(filter-out harness/main.c,$(wildcard harness/*.c))
CHECK_SRC := $(wildcard harness/check/*.c)
FUZZ := $(patsubst harness/fuzz/fuzz_%.c,%,$(wildcard harness/fuzz/fuzz_*.c))
OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(LIB_SRC) $(HARNESS_SRC))

# Calls that the check binary can make fail (harness/check/fault.h).
FAULT_WRAP := malloc calloc realloc free posix_memalign aligned_alloc strdup strndup \
              open openat fopen fstat mkstemps read pread write fsync rename close mmap

all: $(BUILD)/gemma4   ## the program: build/gemma4

$(BUILD)/gemma4: $(OBJ) $(BUILD)/obj/harness/main.o
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ALL_LIBS)

$(BUILD)/check: $(OBJ) $(patsubst %.c,$(BUILD)/obj/%.o,$(CHECK_SRC))
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(FAULT_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(CHECK_LIBS) $(ALL_LIBS)

# ISA flags come from a kernel file's suffix and from nowhere else.
$(BUILD)/obj/%_fma.o: ISA := -mfma
$(BUILD)/obj/%_avx2.o: ISA := -mavx2 -mfma -mf16c
$(BUILD)/obj/%_avx512.o: ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(BASE) $(CFLAGS) $(ISA) $(PKG_CFLAGS) -MMD -c -o $@ $<

# The list of test suites: one for each harness/check/check_<unit>.c.
$(BUILD)/gen/suites.inc: $(CHECK_SRC)
	@mkdir -p $(@D)
	@for f in $(notdir $(filter harness/check/check_%,$(CHECK_SRC))); do \
	  f=$${f#check_}; echo "G4_SUITE($${f%.c})"; done > $@
$(BUILD)/obj/harness/check/main.o: $(BUILD)/gen/suites.inc

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PHONY: all
