# SPDX-License-Identifier: Apache-2.0
"""Trains the miniature's drafter on the backbone's own hidden states, as drafting uses it.

A round of drafting after token t + 1 starts from the backbone's final-norm output at t, with keys
and values of tokens 0 to t, and keeps position t + 1 in all its steps; from the second step on the
hidden state is the drafter's own.  All rounds of a text are trained at once: row t of every step
is the round after token t + 1, and masks hide what that round does not have.  The text is the
training text; what is to be guessed is the backbone's own distribution at each place of it."""
import csv
import os
import time

import mini_data
import mini_train
import numpy as np
import torch
import torch.nn.functional as F

# Steps of a round in training, of the four that are used: what was trained for all four was
# accepted as often at the fourth as at the first, which drafters of large models are not.
STEPS = 2
SHARE = (1.0, 0.5)   # of each step in the loss


def masks(batch, window):
    """Row t sees the keys of its own text up to t: all of them, or the last window + 1."""
    at = torch.arange(batch["ids"].shape[1])
    near = at[None] >= at[:, None] - window
    return {"full_attention": batch["full"], "sliding_attention": batch["full"] & near}


@torch.no_grad()
def backbone(model, batch):
    """Final hidden states, the keys and values that are shared, and the logits of each row."""
    with torch.autocast("cpu", torch.bfloat16):
        out = model.model.language_model(
            inputs_embeds=mini_train.embed(model, batch), position_ids=batch["pos"],
            use_cache=False, return_shared_kv_states=True,
            attention_mask={"full_attention": batch["full"],
                            "sliding_attention": batch["sliding"]})
        h = out.last_hidden_state
        cap = model.config.get_text_config().final_logit_softcapping
        return h, dict(out.shared_kv_states), mini_train.logits_at(model, h, cap)


def shift(x, by):
    """Row t gets what row t + by has; the last rows get zeros."""
    return torch.cat((x[:, by:], torch.zeros_like(x[:, :by])), 1)


def rounds(model, drafter, batch, window, steps=STEPS):
    """For each step: logits of all rows, the backbone's logits there, and which rows count: those
    whose guessed token is one that the backbone writes (weight above zero), as all before it in
    the round are, in the same text."""
    hidden, kv, truth = backbone(model, batch)
    table = model.model.language_model.embed_tokens
    mask, pos = masks(batch, window), batch["pos"] + 1
    seg = batch["full"][:, 0]   # [B][T][T]: same text and not later
    at, valid = torch.arange(seg.shape[1]), torch.ones_like(batch["ids"], dtype=torch.bool)
    for s in range(steps):
        x = torch.cat((table(shift(batch["ids"], s + 1)), hidden.float()), -1)
        x = drafter.pre_projection(x)
        out = drafter.model(inputs_embeds=x, position_ids=pos, attention_mask=mask,
                            shared_kv_states=kv, use_cache=False).last_hidden_state
        hidden = drafter.post_projection(out)
        # token t + s + 2 is guessed: it must be there, of this text, and written by the model
        later = (at + s + 2).clamp(max=len(at) - 1)
        same = seg.transpose(1, 2)[:, at, later] & (at + s + 2 < len(at))
        valid = valid & same & (shift(batch["weights"], s + 2) > 0)
        yield out, shift(truth, s + 1), valid


def loss_of(model, drafter, batch, window):
    """Cross entropy against the backbone's distribution, over all steps; agreement per step."""
    total, agree = 0.0, []
    for share, (out, truth, valid) in zip(SHARE, rounds(model, drafter, batch, window)):
        guess, want = drafter.lm_head(out[valid]).float(), truth[valid]
        total = total + share * F.cross_entropy(guess, want.softmax(-1))
        agree.append((int((guess.argmax(-1) == want.argmax(-1)).sum()), len(guess)))
    return total, agree


def train(model, drafter, tokenizer, plan, folder, rank=0):
    """Adam over plan["steps"] batches of plan["shares"]; log_draft.csv; draft.pt at the end."""
    encoder = mini_data.Encoder(tokenizer)
    window = model.config.get_text_config().sliding_window
    model.eval().requires_grad_(False)
    adam = torch.optim.AdamW(drafter.parameters(), lr=plan["lr"], betas=(0.9, 0.98),
                             weight_decay=0.01)
    begun, sums, rows = time.process_time(), np.zeros((STEPS, 2)), []
    for step in range(plan["steps"]):
        rng = np.random.Generator(np.random.PCG64([plan["seed"], 99, step]))
        batch = mini_train.draw_batch(encoder, rng, plan["shares"], "draft", window)
        for group in adam.param_groups:
            group["lr"] = plan["lr"] * min((step + 1) / 50, 1.0, max(
                0.03, (plan["steps"] - step) / (0.5 * plan["steps"])))
        with torch.autocast("cpu", torch.bfloat16):
            loss, agree = loss_of(model, drafter, batch, window)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(drafter.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        sums += np.array(agree)
        if (step + 1) % 25 == 0:
            rates = sums[:, 0] / np.maximum(sums[:, 1], 1)
            spent = round(time.process_time() - begun)
            rows.append([step + 1, spent, round(float(loss.detach()), 4), *np.round(rates, 4)])
            print("draft", *rows[-1], flush=True)
            sums[:] = 0
    torch.save(drafter.state_dict(), os.path.join(folder, "draft.pt"))
    with open(os.path.join(folder, "log_draft.csv"), "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(["step", "cpu_seconds", "loss", *(f"agree{i + 1}" for i in range(STEPS))])
        out.writerows(rows)
