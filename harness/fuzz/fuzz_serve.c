/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: one byte that says which request, then its body.  What is taken must keep
 * its promises: ids of the vocabulary, numbers in their ranges, placeholders whose media are
 * there; what is refused must say so in a line that can be shown. */
#include "harness/serve/ask.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOCAB = 640 };

static void require(int holds)
{
    if (!holds) abort();
}

static void taken(const g4_ask *a)
{
    for (size_t i = 0; i < a->prompt_count; i++)
        for (int64_t k = 0; !a->prompts[i].text && k < a->prompts[i].n; k++)
            require(a->prompts[i].ids[k] >= 0 && a->prompts[i].ids[k] < VOCAB);
    require(a->kind == G4_ASK_CHAT ? a->text.text != NULL : a->prompt_count >= 1);
    require(a->n >= 1 && a->n <= G4_ASK_CHOICES && a->max_tokens >= -1 && a->top_k >= -1);
    require(a->logprobs >= -1 && a->logprobs <= G4_ASK_TOP && a->stop_count <= G4_ASK_STOPS);
    require(a->temperature == -1.0 || (a->temperature >= 0.0 && a->temperature <= 1000.0));
    require(a->top_p == -1.0 || (a->top_p >= 0.0 && a->top_p <= 1.0));
    for (int i = 0; i < a->stop_count; i++) require(*a->stop[i] != 0);
    for (size_t i = 0; i < a->text.media_count; i++)
        require(a->media_order[i] < a->media_count && a->media[a->media_order[i]].size > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const g4_ask_kind kinds[] = { G4_ASK_COMPLETION, G4_ASK_CHAT, G4_ASK_TOKENIZE,
                                         G4_ASK_DETOKENIZE };
    if (size < 1) return 0;
    g4_ask_model m = { VOCAB, g4_chat_defaults() };
    g4_ask a;
    g4_err err = { G4_OK, "" };
    char field[64];
    m.chat.edition = (g4_chat_edition)(data[0] / 4 % 4);
    g4_status s = g4_ask_parse(&a, kinds[data[0] % 4], &m, data + 1, size - 1, field, &err);
    if (s == G4_OK) {
        taken(&a);
    } else {
        require(strlen(field) < sizeof field && err.msg[0] != 0);
        for (const char *p = err.msg; *p; p++) require((unsigned char)*p >= 32 && *p != 127);
    }
    g4_ask_free(&a);
    return 0;
}
