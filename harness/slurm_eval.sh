#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An evaluation as a Slurm job array, each job a shard of the questions:
#   sbatch --array=0-7 harness/slurm_eval.sh --model M --task mmlu --data DATA --shots 5 --out OUT
# A job that was cut off goes on where it was when it is queued again.  Once all are done:
#   gemma4 eval --merge OUT --out OUT
# GEMMA4: the program, if it is not in PATH.
#SBATCH --job-name=gemma4-eval
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --requeue
set -eu
shard=$((SLURM_ARRAY_TASK_ID - ${SLURM_ARRAY_TASK_MIN:-0}))
exec "${GEMMA4:-gemma4}" eval "$@" --shard "$shard/$SLURM_ARRAY_TASK_COUNT" --resume
