/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a conversation rendered in every edition of the template, behind
 * the first NUL its tools, and the bytes as an answer.  What renders must keep
 * its promises: placeholders where they are said to be, text of that length;
 * and a rendered text is an answer like any other to the parser. */
#include "harness/fuzz/folder.h"
#include "ref/input/chat.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_answer(const char *text, size_t len)
{
    g4_answer a;
    g4_err err;
    if (g4_answer_parse(&a, text, len, (int)(len & 1), &err) != G4_OK) return;
    for (size_t i = 0; i < a.error_count; i++)
        if (a.errors[i].offset > len) abort();
    g4_answer_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g4_err err;
    g4_chat *chat;
    g4_chat_text t;
    try_answer((const char *)data, size);
    fuzz_bytes tools = { data, size }, messages = fuzz_cut(&tools);
    if (g4_chat_parse(&chat, "fuzz/input", messages.data, messages.size, &err) != G4_OK) return 0;
    if (tools.data) g4_chat_set_tools(chat, "tools", tools.data, tools.size, &err);
    for (int i = 0; i < 16; i++) {
        g4_chat_options o = { .edition = (g4_chat_edition)(i % 4), .thinking = i / 4 % 2,
                              .add_generation_prompt = 1, .empty_thought = i & 1,
                              .preserve_thinking = i / 8 };
        if (g4_chat_render(chat, &o, &t, &err) != G4_OK) continue;
        if (strlen(t.text) != t.len) abort();
        for (size_t m = 0; m < t.media_count; m++)
            if (t.media[m].offset + t.media[m].len > t.len || t.text[t.media[m].offset] != '<')
                abort();
        try_answer(t.text, t.len);
        g4_chat_text_free(&t);
    }
    g4_chat_free(chat);
    return 0;
}
