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
# pkg-config name:Debian package; a row here reaches build, installation and aarch64.
DEV := jansson:libjansson-dev hdf5:libhdf5-dev libpng:libpng-dev sndfile:libsndfile1-dev \
       libjpeg:libjpeg62-turbo-dev libwebp:libwebp-dev libwebpdemux:libwebp-dev \
       soxr:libsoxr-dev libmicrohttpd:libmicrohttpd-dev
PKGS := $(foreach row,$(DEV),$(firstword $(subst :, ,$(row))))
# Optional, taken if all are there: video files.  PKGS_VIDEO= builds and tests without.
DEV_VIDEO := libavformat:libavformat-dev libavcodec:libavcodec-dev libavutil:libavutil-dev \
             libswscale:libswscale-dev
VIDEO := $(foreach row,$(DEV_VIDEO),$(firstword $(subst :, ,$(row))))
PKGS_VIDEO = $(eval PKGS_VIDEO := $$(shell $(PKG_CONFIG) --exists $(VIDEO) && echo $(VIDEO)))$(PKGS_VIDEO)
CFLAGS ?= -O3 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
# -ffp-contract=off: a compiler that fuses a multiply and an add changes bits.
# -fno-trapping-math: nobody reads exception flags; without it gcc leaves loops with a
# comparison (exp, softmax) scalar.  It changes no value.
BASE := -std=c11 -D_GNU_SOURCE -ffp-contract=off -fno-trapping-math -I. -I$(BUILD)/gen $(WARN)
# Only for MPI=yes: build/mpi/gemma4, whose `eval` mpirun shares among machines.
DEV_MPI := ompi-c:libopenmpi-dev
MPI_PKGS := $(foreach row,$(DEV_MPI),$(firstword $(subst :, ,$(row))))
# Asked when first used, not when this file is read: `make check` may install them.
PKG_CFLAGS = $(eval PKG_CFLAGS := $$(shell $(PKG_CONFIG) --cflags $(PKGS) $(PKGS_VIDEO)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $$(shell $(PKG_CONFIG) --libs $(PKGS)))$(PKG_LIBS)
CHECK_LIBS = $(shell $(PKG_CONFIG) --libs check)
ALL_LIBS = $(PKG_LIBS) -lm -lpthread $(LDLIBS)

MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
ARCH := $(patsubst aarch64,arm,$(patsubst x86_64,x86,$(MACHINE)))

LIB_SRC := $(wildcard ref/*/*.c kernels_opt/*.c kernels_opt/c/*.c kernels_opt/$(ARCH)/*.c \
             golden/*.c)
HARNESS_SRC := $(filter-out harness/main.c,$(wildcard harness/*.c harness/eval/*.c harness/kl/*.c \
                 harness/mtp/*.c harness/sensitivity/*.c harness/serve/*.c))
CHECK_SRC := $(wildcard harness/check/*.c)
FUZZ := $(patsubst harness/fuzz/fuzz_%.c,%,$(wildcard harness/fuzz/fuzz_*.c))
OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(LIB_SRC) $(HARNESS_SRC))

# Calls that the check binary can make fail (harness/check/fault.h).
FAULT_WRAP := malloc calloc realloc free posix_memalign aligned_alloc strdup strndup \
              open openat fopen fstat mkstemps read pread write fsync rename close mmap

all: $(BUILD)/gemma4 $(if $(filter yes,$(MPI)),$(BUILD)/mpi/gemma4)   ## the program: build/gemma4; MPI=yes: build/mpi/gemma4, too

$(BUILD)/gemma4: $(OBJ) $(BUILD)/obj/harness/main.o
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ALL_LIBS)

# The same objects but for the one that knows MPI.
$(BUILD)/obj/mpi/ranks.o: harness/eval/ranks.c
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(BASE) $(CFLAGS) -DG4_WITH_MPI $(PKG_CFLAGS) \
	  $(shell $(PKG_CONFIG) --cflags $(MPI_PKGS)) -MMD -MP -c -o $@ $<
$(BUILD)/mpi/gemma4: $(filter-out %/eval/ranks.o,$(OBJ)) $(BUILD)/obj/harness/main.o \
                     $(BUILD)/obj/mpi/ranks.o
	@mkdir -p $(@D)
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(ALL_LIBS) $(shell $(PKG_CONFIG) --libs $(MPI_PKGS))

# A fuzz target by itself replays files; `make fuzz` links it with libFuzzer.
FUZZ_MAIN ?= $(BUILD)/obj/harness/fuzz/driver.o
FUZZ_OBJ = $(BUILD)/obj/harness/fuzz/folder.o $(OBJ) $(FUZZ_MAIN)
$(FUZZ:%=$(BUILD)/fuzz/%): $(BUILD)/fuzz/%: $(BUILD)/obj/harness/fuzz/fuzz_%.o $(FUZZ_OBJ)
	@mkdir -p $(@D)
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(FUZZ_LDFLAGS) -o $@ $^ $(ALL_LIBS)

$(BUILD)/check: $(OBJ) $(patsubst %.c,$(BUILD)/obj/%.o,$(CHECK_SRC))
	@echo "  LD $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(FAULT_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(CHECK_LIBS) $(ALL_LIBS)

# Loaded into the program by check_iofault, in front of libc: no sanitizer in it.
$(BUILD)/io_fault.so: harness/check/preload/io_fault.c harness/check/preload/io_fault.h
	@mkdir -p $(@D)
	@echo "  LD $@"
	$(Q)$(CC) $(BASE) -O1 -g -fPIC -shared -o $@ $< -ldl

# ISA flags come from a kernel file's suffix and from nowhere else.
$(BUILD)/obj/%_fma.o: ISA := -mfma
$(BUILD)/obj/%_avx2.o: ISA := -mavx2 -mfma -mf16c
$(BUILD)/obj/%_avxvnni.o: ISA := -mavx2 -mfma -mf16c -mavxvnni
$(BUILD)/obj/%_avx512.o: ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq
$(BUILD)/obj/%_vnni.o: ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq \
                              -mavx512vnni
$(BUILD)/obj/%_avx512bf16.o: ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl \
                                    -mavx512dq -mavx512bf16
AMX_ISA := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mamx-tile -mamx-int8
$(BUILD)/obj/%_amx.o: ISA := $(AMX_ISA)
$(BUILD)/obj/harness/check/amx_emulated.o: ISA := $(if $(filter x86_64%,$(MACHINE)),$(AMX_ISA))
$(BUILD)/obj/%_dotprod.o: ISA := -march=armv8.2-a+dotprod
$(BUILD)/obj/ref/input/libav.o $(BUILD)/obj/ref/input/video_libav.o: \
  ISA = $(if $(PKGS_VIDEO),-DG4_WITH_LIBAV)
# Tests gain nothing from -O3 but minutes of building.
$(BUILD)/obj/harness/check/%.o: CFLAGS += -O1
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC $@"
	$(Q)$(CC) $(BASE) $(CFLAGS) $(ISA) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

# The list of test suites: one for each harness/check/check_<unit>.c.
$(BUILD)/gen/suites.inc: $(CHECK_SRC)
	@mkdir -p $(@D)
	@for f in $(notdir $(filter harness/check/check_%,$(CHECK_SRC))); do \
	  f=$${f#check_}; echo "G4_SUITE($${f%.c})"; done > $@
$(BUILD)/obj/harness/check/main.o: $(BUILD)/gen/suites.inc

# ---- what people and machines run ----
# A variant is this Makefile again: $(call variant,NAME,what to make,settings).
# .ci/tally counts its tests; its own folder keeps it apart from the others.
TALLY := .ci/tally
variant = +@$(TALLY) $(1) $(MAKE) --no-print-directory -j$(JOBS) $(2) $(3)
DEPS_RUN = @CC="$(CC)" DEPS="$(DEPS)" DEV="$(DEV)" DEV_MPI="$(DEV_MPI)" \
  DEV_VIDEO="$(if $(filter command,$(origin PKGS_VIDEO)),,$(DEV_VIDEO))" .ci/deps

# libcheck's 4 seconds a test are too few on a machine that does other things, too.
export CK_DEFAULT_TIMEOUT ?= 60
# The long tests (tag slow) belong to check-all.
FAST := CK_EXCLUDE_TAGS=slow
SLOW := CK_INCLUDE_TAGS=slow
SANITIZE := CK_FORK=no CK_EXCLUDE_TAGS=slow CC=clang-14
ARM64 := $(BUILD)/arm64
# x86-64 as it was defined, without AVX or FMA; everything is 20 to 50 times slower there.
BASELINE := RUN="qemu-x86_64 -cpu qemu64" CK_TIMEOUT_MULTIPLIER=60
SUITES := $(patsubst harness/check/check_%.c,%,$(wildcard harness/check/check_*.c))
# Suites with threads, for the thread sanitizer; suites that pin bits, for emulated CPUs.
THREAD_SUITES ?= $(filter base invariance verify,$(SUITES))
BIT_SUITES ?= $(filter base real dtype formats kernels digest,$(SUITES))

CHECKED := $(BUILD)/check $(BUILD)/gemma4 $(BUILD)/io_fault.so
# $(ONLY): a list of suites, or all.
run-check: $(CHECKED)
	CHECK_JOBS=$(JOBS) CHECK_SUITES="$(ONLY)" $(RUN) $(BUILD)/check

run-replay: $(FUZZ:%=$(BUILD)/fuzz/%)
	@.ci/replay $(BUILD) $(FUZZ)

check: check-deps check-gcc check-fuzz layers notes   ## everything that gcc alone can prove, under 3 minutes
check-deps:
	$(DEPS_RUN) build check
check-kernels: check-deps   ## every row of kernels.def against its definition, bit by bit
	+@$(MAKE) --no-print-directory -j$(JOBS) run-check ONLY=kernels
check-golden: check-deps   ## every activation of the repository's golden files (tag golden)
	+@$(MAKE) --no-print-directory -j$(JOBS) run-check CK_INCLUDE_TAGS=golden
check-oracle: check-deps   ## a folder of other golden files: ORACLE=DIR with DIR/<model>/{model,*.h5,tokens.json}
	@test -d "$(ORACLE)" || { echo "check-oracle: needs ORACLE=DIR, DIR/<model>/{model/,*.h5,tokens.json}"; exit 2; }
	$(call variant,oracle,run-oracle,ORACLE="$(ORACLE)")
run-oracle: $(BUILD)/gemma4 $(BUILD)/check
	@.ci/oracle $(BUILD) "$(ORACLE)"
check-peers: check-deps   ## against tokenizers, Jinja2, Transformers, llama.cpp's vectors (needs PyPI); PYTHON=venv's
	$(DEPS_RUN) peers
	+@$(MAKE) --no-print-directory -j$(JOBS) all
	$(call variant,peers,run-peers)
run-peers:
	@PYTHON="$(PYTHON)" .ci/peers $(BUILD)
# make check-tokenizer: one suite, any harness/check/check_<unit>.c
$(patsubst %,check-%,$(filter-out kernels golden oracle,$(SUITES))): check-%: check-deps
	+@$(MAKE) --no-print-directory -j$(JOBS) run-check ONLY=$*
check-gcc:
	$(call variant,gcc,run-check,$(FAST))
check-fuzz:
	$(call variant,fuzz,run-replay)

check-all: check check-rest   ## check, then clang, sanitizers, x86-64 baseline, aarch64, fault loops, demo
check-rest: check-all-deps check-demo check-slow check-mpi check-clang asan tsan check-baseline \
  check-arm64
check-all-deps:
	$(DEPS_RUN) build check all arm64 mpi
check-demo:
	$(call variant,demo,demo)
check-slow:
	$(call variant,slow,run-check,$(SLOW))
check-mpi:   ## `mpirun -n 2` and 4 of an evaluation against one process, byte for byte; killed ranks
	$(call variant,mpi,run-mpi)
# Skipped, which .ci/mpi says, where Open MPI is not installed (check-all installs it).
run-mpi:
	+@! command -v mpirun >/dev/null || $(MAKE) --no-print-directory $(BUILD)/gemma4 $(BUILD)/mpi/gemma4
	@.ci/mpi $(BUILD)
check-clang:
	$(call variant,clang,run-check,$(FAST) BUILD=$(BUILD)/clang CC=clang-14)
# Both sanitizers in one build; `make ubsan` is for reading its reports alone.
asan:   ## tests and fuzz corpus under ASan and UBSan (clang-14)
	$(call variant,asan,run-check run-replay,$(SANITIZE) BUILD=$(BUILD)/asan CFLAGS="$(ASAN)")
ubsan:   ## tests under UBSan alone (clang-14)
	$(call variant,ubsan,run-check,$(SANITIZE) BUILD=$(BUILD)/ubsan CFLAGS="$(UBSAN)")
tsan:   ## suites with threads under TSan (clang-14)
	$(call variant,tsan,run-check,$(SANITIZE) BUILD=$(BUILD)/tsan CFLAGS="$(TSAN)" \
	  ONLY="$(THREAD_SUITES)")
check-baseline:   ## suites that pin bits on an emulated x86-64 without AVX and FMA
	$(call variant,baseline,run-check,$(FAST) $(BASELINE) ONLY="$(BIT_SUITES)")
check-arm64:   ## the same suites built for aarch64, under qemu-user
	@.ci/sysroot $(ARM64) check $(sort $(foreach row,$(DEV),$(lastword $(subst :, ,$(row)))))
	$(call variant,arm64,run-check,$(FAST) BUILD=$(ARM64)/build $(ARM64_BUILD) \
	  ONLY="$(BIT_SUITES)")

ASAN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
UBSAN := -O1 -g -fsanitize=undefined -fno-sanitize-recover=all
TSAN := -O1 -g -fsanitize=thread
ARM64_ROOT = $(abspath $(ARM64))/root
ARM64_LIB = $(ARM64_ROOT)/usr/lib/aarch64-linux-gnu
ARM64_BUILD = CC="aarch64-linux-gnu-gcc --sysroot=$(ARM64_ROOT)" \
  PKG_CONFIG="env PKG_CONFIG_SYSROOT_DIR=$(ARM64_ROOT) PKG_CONFIG_LIBDIR=$(ARM64_LIB)/pkgconfig \
  pkg-config" RUN="qemu-aarch64 -L $(ARM64_ROOT)" CK_TIMEOUT_MULTIPLIER=60

layers:   ## who may include whom, top level, line and file lengths
	@$(TALLY) layers .ci/layers
notes:   ## every [N12] in the code resolves in PAPER_NOTES.md
	@$(TALLY) notes .ci/notes

demo: demo-deps   ## a picture, a spoken-like word and text through the trained miniature, against its golden file
	+@$(MAKE) --no-print-directory -j$(JOBS) all
	@BUILD="$(BUILD)" MODEL="$(MODEL)" harness/demo.sh
demo-deps:
	$(DEPS_RUN) build demo

# FUZZ_SECONDS each; new inputs go to build/libfuzzer/corpus, findings beside it.
FUZZ_SECONDS ?= 60
FUZZER := BUILD=$(BUILD)/libfuzzer CC=clang-14 FUZZ_MAIN= FUZZ_LDFLAGS=-fsanitize=fuzzer \
  CFLAGS="$(ASAN) -fsanitize=fuzzer-no-link"
fuzz: fuzz-deps   ## libFuzzer under ASan and UBSan, FUZZ_SECONDS=60 for each target
	$(call variant,libfuzzer,run-fuzz,$(FUZZER))
fuzz-deps:
	$(DEPS_RUN) build all
run-fuzz: $(FUZZ:%=$(BUILD)/fuzz/%)
	@.ci/fuzz $(BUILD) $(FUZZ_SECONDS) $(FUZZ)

bench: all   ## speed of the kernels beside this machine's peak
	$(BUILD)/gemma4 bench --kernels

MINIATURE := golden/miniature
golden:   ## makes golden/tiny's and the miniature's golden files again (needs the Python packages of golden/README.md; PYTHON=)
	@echo "needs Python with the packages of golden/requirements.txt; PYTHON=$(or $(PYTHON),python3)"
	$(or $(PYTHON),python3) golden/make_golden.py
	mkdir -p $(MINIATURE)/golden
	test ! -e $(MINIATURE)/model.safetensors || $(or $(PYTHON),python3) golden/make_golden.py \
	  --model $(MINIATURE) --list $(MINIATURE)/cases.json --to $(MINIATURE)/golden

DIGESTS := harness/check/data/digests.txt
digests: all $(BUILD)/check   ## pins every tiny case's bits again (after a change that is meant to change them)
	CK_FORK=no CHECK_SUITES=digest G4_PRINT_DIGESTS=1 $(BUILD)/check | \
	  grep -E '^[0-9a-f]{64}  ' > $(DIGESTS).tmp
	mv $(DIGESTS).tmp $(DIGESTS)
	git diff --stat -- $(DIGESTS)

# Each draws tables of results; but eval_* what an evaluation left, error_by_depth two files'
# difference, as their first lines say.
PLOTS := $(filter-out notebooks_data/plots/eval_% notebooks_data/plots/error_by_depth.gp, \
  $(wildcard notebooks_data/plots/*.gp))
plots:   ## draws notebooks_data/plots/*.svg again from notebooks_data/results (needs gnuplot)
	@for f in $(PLOTS); do echo "  $${f%.gp}.svg"; \
	  gnuplot -e "out='$${f%.gp}.svg'" "$$f" || exit 1; done

release:   ## build/release/gemma4: optimised, without asserts and debug symbols
	+@$(MAKE) --no-print-directory -j$(JOBS) all BUILD=$(BUILD)/release CFLAGS="-O3 -DNDEBUG -s"

# FILES=... for others than those changed since the last commit.
FILES ?= $(shell git diff --name-only HEAD -- '*.c' '*.h' 2>/dev/null)
format:   ## clang-format on the changed .c and .h files, or FILES="..."
	@echo "needs clang-format-14; files: $(or $(FILES),none changed)"
	@test -z "$(FILES)" || clang-format-14 -i $(FILES)

clean:   ## removes the build folder
	rm -rf $(BUILD)

# ---- help ----
help:   ## this list
	@echo "make <target>; V=1 shows compiler lines, DEPS=no installs nothing, JOBS=N"
	@sed -n 's/^\([a-z][a-z0-9-]*\):[^=]*## /\1|/p' Makefile | \
	  awk -F'|' '{ printf "  %-16s %s\n", $$1, $$2 }'

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
# Steps run one after the other; the compiler runs in parallel inside them.
ifneq ($(filter all $(BUILD)/% run-%,$(or $(MAKECMDGOALS),all)),$(or $(MAKECMDGOALS),all))
.NOTPARALLEL:
endif
.PHONY: all demo demo-deps fuzz fuzz-deps run-fuzz bench golden digests plots release format clean \
  check-kernels check-golden check-oracle run-oracle check-peers run-peers $(SUITES:%=check-%) \
  help layers notes check check-deps check-gcc check-fuzz check-all check-rest \
  check-all-deps check-demo check-slow check-clang check-baseline check-arm64 check-mpi asan ubsan tsan \
  run-check run-replay run-mpi
