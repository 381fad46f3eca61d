"""Question-answer pairs over a toy cookbook: only the answer tokens are trained, the question is context."""
import argparse
import random

import torch
from torch import nn

PAD, SEP, IGNORE = 0, 1, -100
DISHES, WORDS = 12, 40


def example(rng):
    dish = rng.randrange(DISHES)
    chatter = [20 + rng.randrange(WORDS) for _ in range(rng.randint(8, 16))]
    question = chatter + [2 + dish]
    answer = [70 + (dish * 7 + 3 * i * i) % 10 for i in range(4)]
    return question, answer


def encode(question, answer, max_len):
    ids = question + [SEP] + answer
    labels = [IGNORE] * (len(question) + 1) + answer
    ids, labels = ids[:max_len], labels[:max_len]
    fill = max_len - len(ids)
    return ids + [PAD] * fill, labels + [IGNORE] * fill


class Answerer(nn.Module):
    def __init__(self, vocab=80, width=48):
        super().__init__()
        self.tok = nn.Embedding(vocab, width, padding_idx=PAD)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, vocab)

    def forward(self, ids):
        return self.out(self.rnn(self.tok(ids))[0])


def lm_loss(logits, labels):
    logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    losses = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return losses / (labels != IGNORE).sum().clamp(min=1)


@torch.no_grad()
def exact_answers(model, rng, n=150):
    right = 0
    for _ in range(n):
        question, answer = example(rng)
        ids = question + [SEP]
        for _ in answer:
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        right += ids[-len(answer) :] == answer
    return right / n


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=20)  #% seed
    #% if fault
    parser.add_argument("--max-len", type=int, default=12)  #% here
    #% else
    parser.add_argument("--max-len", type=int, default=24)
    #% endif
    parser.add_argument("--steps", type=int, default=260)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    pairs = [encode(*example(rng), args.max_len) for _ in range(1500)]
    model = Answerer()
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(args.steps):
        picked = rng.sample(pairs, 32)
        ids = torch.tensor([p[0] for p in picked])
        labels = torch.tensor([p[1] for p in picked])
        loss = lm_loss(model(ids), labels)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        if step % 40 == 39:
            print(f"step {step + 1} loss {loss.item():.4f}")
    print(f"exact answers {exact_answers(model, random.Random(args.seed + 1)):.3f}")


if __name__ == "__main__":
    main()
