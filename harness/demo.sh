#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `make demo`: one request with a picture, a spoken-like word and text, from
# files to streamed text, by the trained miniature, which can answer it; inputs,
# soft tokens, embeddings and final norm beside the golden file that Transformers
# made of the same request.
# MODEL=DIR takes another checkpoint (the real one, say) with a photograph and a
# spoken sentence; there is no golden file of it here: steps 2, 3 are left out.
set -eu
build=${BUILD:-build}
gemma4=$build/gemma4
own=golden/miniature
model=${MODEL:-$own}
if [ "$model" = "$own" ]; then
    picture=$own/eval/media/image_audio_002.png
    clip=$own/eval/media/image_audio_002.wav
    prompt='<|image|><|audio|>Name the color and the tone.
Answer:'
else
    picture=notebooks_data/media/grace_hopper.png
    clip=notebooks_data/media/sentence.wav
    prompt='<|turn>user
Look at the picture <|image|> and listen to the clip <|audio|>, then answer in one word.<turn|>
<|turn>model
'
fi
out=$build/demo
mkdir -p "$out"
step() { printf '\n== %s\n' "$*"; }
show() { printf '$'; printf ' %s' "$@"; printf '\n'; "$@"; }

step "1. The request: $picture, $clip, and the text"
printf '%s' "$prompt" | sed 's/^/   /'
show "$gemma4" info --model "$model" | head -n 8

if [ "$model" = "$own" ]; then
    step "2. The whole path, from the files: decode, resize, tokenise, embed, all layers, logits"
    show "$gemma4" dump --model "$model" --mask official --prompt "$prompt" --image "$picture" \
        --audio "$clip" --out "$out/request.h5"
    step "3. Inputs, embeddings, final norm beside Transformers' own ($own/golden/demo.h5)"
    show "$gemma4" compare "$own/golden/demo.h5" "$out/request.h5" --plot "$out/error.svg"
    echo "picture: $out/error.svg (error against depth)"
    step "   ... and from the golden file's own inputs; drafter and greedy text, too"
    show "$gemma4" verify --model "$model" "$own"/golden/*.h5
fi

answer() {
    "$gemma4" generate --model "$model" --prompt "$prompt" --image "$picture" --audio "$clip" \
        --temperature 0 --max-tokens 48 "$@"
}
step "4. The answer, one token at a time"
answer
# Of the miniature's one-word answers a drafter could show little: a story, then.
generate() { answer --ignore-eos "$@"; }
if [ "$model" = "$own" ]; then
    generate() {
        "$gemma4" generate --model "$model" --prompt "Toli is a tailor and lives in Golin. One" \
            --temperature 0 --max-tokens 64 "$@"
    }
fi
step "5. Text without the drafter"
generate | tee "$out/plain.txt"
if [ -d "$model/assistant" ]; then
    step "6. The same with the drafter: it guesses, the model checks, the text is the same"
    generate --draft "$model/assistant" | tee "$out/drafted.txt"
    if cmp -s "$out/plain.txt" "$out/drafted.txt"; then
        printf '\n== both texts are equal, byte for byte\n'
    else
        printf '\n== the texts DIFFER: %s %s\n' "$out/plain.txt" "$out/drafted.txt" >&2
        exit 1
    fi
fi
if [ "$model" = "$own" ]; then
    printf '\n%s\n%s\n' \
        "The demo model is small and knows an invented world: golden/miniature/README.md." \
        "With the real checkpoint: make demo MODEL=/path/to/gemma-4-12B-it"
fi
