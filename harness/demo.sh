#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make demo`: one request with a photograph, a spoken sentence and text, from
# files to streamed text; every activation beside the golden file that
# Transformers made of the same request.  MODEL=DIR takes another checkpoint
# (the real one, say), of which there is no golden file here: then steps 2, 3 are
# left out.
set -eu
build=${BUILD:-build}
gemma4=$build/gemma4
tiny=golden/tiny/mini
model=${MODEL:-$tiny/model}
photo=notebooks_data/media/grace_hopper.png
clip=notebooks_data/media/sentence.wav
prompt='<|turn>user
Look at the picture <|image|> and listen to the clip <|audio|>, then answer in one word.<turn|>
<|turn>model
'
out=$build/demo
mkdir -p "$out"
step() { printf '\n== %s\n' "$*"; }
show() { printf '$'; printf ' %s' "$@"; printf '\n'; "$@"; }

step "1. The request: $photo, $clip, and the text"
printf '%s' "$prompt" | sed 's/^/   /'
show "$gemma4" info --model "$model" | head -n 8

if [ "$model" = "$tiny/model" ]; then
    step "2. The whole path, from the files: decode, resize, tokenise, embed, all layers, logits"
    show "$gemma4" dump --model "$model" --mask official --prompt "$prompt" --image "$photo" \
        --audio "$clip" --out "$out/request.h5"
    step "3. Every activation beside Transformers' own (golden file $tiny/demo.h5)"
    show "$gemma4" compare "$tiny/demo.h5" "$out/request.h5" --plot "$out/error.svg"
    echo "picture: $out/error.svg (error against depth)"
    step "   ... and from the golden file's own inputs; drafter and greedy text, too"
    show "$gemma4" verify --model "$model" "$tiny"/*.h5
fi

step "4. Text, one token at a time, without the drafter"
generate() {
    "$gemma4" generate --model "$model" --prompt "$prompt" --image "$photo" --audio "$clip" \
        --temperature 0 --max-tokens 48 "$@"
}
generate --ignore-eos | tee "$out/plain.txt"
if [ -d "$model/assistant" ]; then
    step "5. The same with the drafter: it guesses, the model checks, the text is the same"
    generate --ignore-eos --draft "$model/assistant" | tee "$out/drafted.txt"
    if cmp -s "$out/plain.txt" "$out/drafted.txt"; then
        printf '\n== both texts are equal, byte for byte\n'
    else
        printf '\n== the texts DIFFER: %s %s\n' "$out/plain.txt" "$out/drafted.txt" >&2
        exit 1
    fi
fi
if [ "$model" = "$tiny/model" ]; then
    printf '\n%s\n%s\n' \
        "The demo model has the whole architecture and random weights: its text means nothing." \
        "With the real checkpoint: make demo MODEL=/path/to/gemma-4-12B-it"
fi
