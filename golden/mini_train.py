# SPDX-License-Identifier: Apache-2.0
"""Trains the miniature with Transformers' own classes on two CPU cores.

Two processes, one thread each, take a batch of their own at every step and average their gradients:
on a busy machine that waits once a step, where two threads of one process would wait at every
matrix.  Weights are float32, matrices are multiplied in bfloat16 (autocast).  Matrices of the
layers learn by Muon (orthogonalised momentum), everything else by AdamW.  All that is random comes
from (seed, process, step), and a snapshot holds weights, optimizers and step: a run that was
stopped goes on from the last one as if it had not been.
"""
import csv
import os
import time

import hf_setup  # noqa: F401
import mini_data
import mini_media
import mini_text
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

# Rows, tokens in a row, and the shots of questions in them: attention costs what its rows are long.
SHAPES = {"small": (20, 192, (0, 3)), "middle": (10, 384, (1, 6)),
          "long": (8, 512, (5, 12)), "draft": (10, 192, (0, 2))}
FIELDS = ["step", "tokens", "seconds", "loss", "kind", "correct", "n", "cpu_seconds"]


# ---- what is trained on ----

def mixture(step, phases):
    """The shape of a step's batch, and the kinds in it with their shares of samples: phases is
    [(from step, {shape: {kind: share}}, [shape, ..])]."""
    shares, order = next(p[1:] for p in reversed(phases) if step >= p[0])
    shape = order[step % len(order)]
    return shape, shares[shape]


def draw_batch(encoder, rng, shares, shape, window):
    """A batch whose samples, by share, fit its rows; longer ones are drawn again."""
    rows, width, (least, most) = SHAPES[shape]
    kinds = list(shares)
    p = np.array([shares[k] for k in kinds], float)
    p /= p.sum()

    def draw():
        while True:
            kind = kinds[int(rng.choice(len(kinds), p=p))]
            shots = int(rng.integers(least, most))
            if kind.startswith("pro/"):
                shots = shots // 2 if width < 512 else 5
            row = encoder.encode(mini_data.make_sample(rng, kind, "train", shots))
            if len(row) <= width:
                return row
    return mini_data.collate(mini_data.fill(draw, rows, width), width, window)

# ---- model ----

def embed(model, batch):
    """What enters layer 0: scaled rows of the table, soft tokens in their places."""
    ids, types, inner = batch["ids"], batch["types"], model.model
    x = inner.language_model.embed_tokens(ids.masked_fill(types > 0, 0))
    if batch["patches"] is not None:
        # uint8 / 255 as the image processor does it: times the float32 reciprocal
        pixels = batch["patches"].float() * np.float32(1 / 255)
        soft = inner.embed_vision(pixels[None], batch["places"][None], return_dict=True)
        seen = (types == 1) | (types == 2)
        x = x.masked_scatter(seen[..., None], soft.pooler_output[0].to(x.dtype))
    if batch["frames"] is not None:
        soft = inner.embed_audio(batch["frames"][None])[0]
        x = x.masked_scatter((types == 3)[..., None], soft.to(x.dtype))
    return x


def logits_at(model, hidden, cap):
    """Logits of the chosen rows, after the softcap."""
    out = model.lm_head(hidden).float()
    return cap * torch.tanh(out / cap)


def run(model, body, batch):
    """(final hidden states of the rows that predict a weighted token, targets, weights)"""
    out = body(inputs_embeds=embed(model, batch), position_ids=batch["pos"], use_cache=False,
               attention_mask={"full_attention": batch["full"],
                               "sliding_attention": batch["sliding"]})
    w = batch["weights"][:, 1:]
    at = w > 0
    return out.last_hidden_state[:, :-1][at], batch["ids"][:, 1:][at], w[at]


# ---- optimizers ----

def orthogonal(g):
    """Newton-Schulz iteration on a stack of matrices [n][rows][columns], in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315   # coefficients of K. Jordan's Muon
    x = g.bfloat16()
    turned = x.shape[1] > x.shape[2]
    x = x.mT if turned else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if turned else x).float()


class Muon:
    """Momentum, orthogonalised; matrices of one shape go through together."""

    def __init__(self, params, momentum=0.95):
        self.groups, self.momentum = {}, momentum
        for p in params:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.buffers = {s: torch.zeros(len(ps), *s) for s, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, lr, decay):
        for shape, params in self.groups.items():
            g, m = torch.stack([p.grad for p in params]), self.buffers[shape]
            m.mul_(self.momentum).add_(g)
            # 0.2 sqrt(longer side): the step has the size that AdamW's would have
            update = orthogonal(g + self.momentum * m) * (0.2 * max(shape) ** 0.5)
            for p, u in zip(params, update):
                p.mul_(1 - lr * decay).sub_(lr * u)


def split_parameters(model):
    """Matrices of the layers; the rest (tables, norms, embedders)."""
    inside, rest = [], []
    for name, p in model.named_parameters():
        (inside if p.ndim == 2 and ".layers." in name else rest).append(p)
    return inside, rest


def learning_rate(step, plan):
    """The part of plan["lr"] at a step: straight lines between the points of plan["rates"]."""
    return float(np.interp(step, *zip(*plan["rates"])))


# ---- looking ----

@torch.no_grad()
def examine(model, encoder, kinds, n, split, window, seed=1):
    """{kind: (samples whose answer is right, samples)}: every token of the answer is the likeliest
    after the true ones before it.  Free text counts its tokens instead."""
    model.eval()
    score, cap = {}, model.config.get_text_config().final_logit_softcapping
    for kind in kinds:
        rng = np.random.Generator(np.random.PCG64([seed, len(kind), n]))
        rows = [encoder.encode(mini_data.make_sample(rng, kind, split, 0)) for _ in range(n)]
        by_token = kind.startswith(("domain/", "drill/"))
        right = count = 0
        width = max(len(r) for r in rows)
        for at in range(0, n, 10):
            some = rows[at:at + 10]
            batch = mini_data.collate(some, width, window)
            with torch.autocast("cpu", torch.bfloat16):
                hidden, target, _ = run(model, model.model.language_model, batch)
                best = logits_at(model, hidden, cap).argmax(-1)
            hit = torch.zeros(batch["ids"].shape, dtype=torch.bool)
            hit[:, 1:][batch["weights"][:, 1:] > 0] = best == target
            for row, h in zip(some, hit):
                _, _, marks = row.marks[0]
                right += int(h[marks].sum()) if by_token else bool(h[marks].all())
                count += len(marks) if by_token else 1
        score[kind] = (right, count)
    model.train()
    return score


ASKED = tuple(k for k in (*mini_text.KINDS, *mini_media.KINDS)
              if k not in ("copy", "facts", "sums"))


# ---- the loop ----

class Trainer:
    def __init__(self, model, tokenizer, plan, folder, rank=0, world=1):
        self.model, self.plan, self.folder = model, plan, folder
        self.rank, self.world = rank, world
        self.encoder = mini_data.Encoder(tokenizer)
        text = model.config.get_text_config()
        self.window, self.cap = text.sliding_window, text.final_logit_softcapping
        self.body = torch.compile(model.model.language_model, dynamic=False)
        inside, self.rest = split_parameters(model)
        self.muon = Muon(inside)
        self.adam = torch.optim.AdamW(self.rest, lr=plan["lr_rest"], betas=(0.9, 0.98),
                                      weight_decay=0.0)
        self.params = inside + self.rest
        self.step, self.tokens, self.seconds, self.cpu, self.counted = 0, 0, 0.0, 0.0, 0.0

    def save(self, name="snapshot.pt"):
        path = os.path.join(self.folder, name)
        torch.save({"model": self.model.state_dict(), "adam": self.adam.state_dict(),
                    "muon": list(self.muon.buffers.values()), "step": self.step,
                    "tokens": self.tokens, "seconds": self.seconds, "cpu": self.cpu},
                   path + ".tmp")
        os.replace(path + ".tmp", path)

    def load(self):
        path = os.path.join(self.folder, "snapshot.pt")
        if not os.path.exists(path):
            return
        s = torch.load(path, weights_only=True)
        self.model.load_state_dict(s["model"])
        self.adam.load_state_dict(s["adam"])
        for mine, theirs in zip(self.muon.buffers.values(), s["muon"]):
            mine.copy_(theirs)
        self.step, self.tokens, self.seconds = s["step"], s["tokens"], s["seconds"]
        self.cpu = s.get("cpu", 0.0)   # not counted before step 4,270

    def average(self):
        """Gradients, the mean over the processes, no longer than 1."""
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten()
                          for p in self.params])
        if self.world > 1:
            dist.all_reduce(flat)
            flat /= self.world
        flat *= min(1.0, 1.0 / (float(flat.norm()) + 1e-6))
        at = 0
        for p in self.params:
            p.grad = flat[at:at + p.numel()].view_as(p)
            at += p.numel()

    def learn(self):
        plan = self.plan
        rng = np.random.Generator(np.random.PCG64([plan["seed"], self.rank, self.step]))
        shape, shares = mixture(self.step, plan["phases"])
        batch = draw_batch(self.encoder, rng, shares, shape, self.window)
        with torch.autocast("cpu", torch.bfloat16):
            hidden, target, weight = run(self.model, self.body, batch)
            ce = F.cross_entropy(logits_at(self.model, hidden, self.cap), target,
                                 reduction="none")
        loss = (ce * weight).sum() / weight.sum()
        loss.backward()
        self.average()
        part = learning_rate(self.step, plan)
        for group in self.adam.param_groups:
            group["lr"] = plan["lr_rest"] * part
        self.muon.step(plan["lr"] * part, plan["decay"])
        self.adam.step()
        self.adam.zero_grad()
        self.step += 1
        self.tokens += self.world * int((batch["ids"] > 0).sum())
        return float(loss.detach())

    def log(self, rows):
        path = os.path.join(self.folder, "log.csv")
        new = not os.path.exists(path)
        with open(path, "a", newline="", encoding="utf-8") as f:
            out = csv.writer(f, lineterminator="\n")
            if new:
                out.writerow(FIELDS)
            out.writerows(rows)

    def report(self, loss, kinds):
        """Accuracy on questions held out, the kinds shared among the processes."""
        score = examine(self.model, self.encoder, kinds[self.rank::self.world], 30, "val",
                        self.window)
        gathered = [None] * self.world
        if self.world > 1:
            dist.all_gather_object(gathered, score)
        else:
            gathered = [score]
        if self.rank == 0:
            head = [self.step, self.tokens, round(self.seconds), round(loss, 4)]
            rows = [head + [k, *s[k], round(self.cpu)] for s in gathered for k in s]
            self.log(sorted(rows, key=lambda r: r[4]))
            text = " ".join(f"{r[4]} {100 * r[5] // r[6]}" for r in sorted(rows, key=lambda r:
                                                                        r[4]))
            print(f"step {self.step} {self.tokens} tokens {self.seconds:.0f} s: {text}",
                  flush=True)

    def count_cpu(self):
        """CPU seconds of all processes, since the last time."""
        now = time.process_time()
        spent = torch.tensor([now - self.counted])
        self.counted = now
        if self.world > 1:
            dist.all_reduce(spent)
        self.cpu += float(spent)

    def train(self):
        mean, last = None, time.monotonic()
        while self.step < self.plan["steps"]:
            loss = self.learn()
            mean = loss if mean is None else 0.98 * mean + 0.02 * loss
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.step % 20 == 0 and self.rank == 0:
                print(f"step {self.step} loss {mean:.4f} {self.tokens / self.seconds:.0f} tokens/s",
                      flush=True)
            if self.step % self.plan["look_every"] == 0:
                self.count_cpu()
                self.report(mean, ASKED)
                last = time.monotonic()
            if self.step % self.plan["save_every"] == 0:
                self.count_cpu()
                if self.rank == 0:
                    self.save()
                last = time.monotonic()
            if self.step in self.plan["mean_of"] and self.rank == 0:
                self.save(f"snapshot_{self.step}.pt")
        if mean is not None and self.step % self.plan["look_every"]:
            self.count_cpu()
            self.report(mean, ASKED)
        if self.rank == 0:
            self.save()
