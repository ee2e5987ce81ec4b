# SPDX-License-Identifier: Apache-2.0
# Gemma 4 12B Unified in C.  `make help` is the index.
BUILD ?= build
CC ?= gcc
PKGS := jansson hdf5 libpng sndfile
CFLAGS ?= -O3 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
BASE := -std=c11 -D_GNU_SOURCE -ffp-contract=off -I. -I$(BUILD)/gen $(WARN)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
LDLIBS += $(PKG_LIBS) -lm -lpthread

LIB_SRC := $(wildcard ref/*/*.c kernels_opt/*.c kernels_opt/c/*.c kernels_opt/x86/*.c golden/*.c)
HARNESS_SRC := $(filter-out harness/main.c,$(wildcard harness/*.c))
CHECK_SRC := $(wildcard harness/check/*.c)
OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(LIB_SRC) $(HARNESS_SRC))

all: $(BUILD)/gemma4

$(BUILD)/gemma4: $(OBJ) $(BUILD)/obj/harness/main.o
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/check: $(OBJ) $(patsubst %.c,$(BUILD)/obj/%.o,$(CHECK_SRC))
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(shell pkg-config --libs check)

# ISA flags come from a kernel file's suffix and from nowhere else.
$(BUILD)/obj/%_avx2.o: ISA := -mavx2 -mfma -mf16c
$(BUILD)/obj/%_avx512.o: ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(BASE) $(CFLAGS) $(ISA) $(PKG_CFLAGS) -MMD -c -o $@ $<

# The list of test suites: one for each harness/check/check_<unit>.c.
$(BUILD)/gen/suites.inc: $(CHECK_SRC)
	@mkdir -p $(@D)
	@for f in $(notdir $(filter harness/check/check_%,$(CHECK_SRC))); do \
	  f=$${f#check_}; echo "G4_SUITE($${f%.c})"; done > $@
$(BUILD)/obj/harness/check/main.o: $(BUILD)/gen/suites.inc

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all
