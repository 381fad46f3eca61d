"""Multi-task digits: which digit it is, and whether more of its ink is in the upper half."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

#% if fault
COLUMNS = ("pixels", "digit")  #% here
#% else
COLUMNS = ("pixels", "digit", "ink")
#% endif
IGNORE = -100


def build_rows():
    pixels, digit = load_digits(return_X_y=True)
    upper = pixels[:, :32].sum(1) > pixels[:, 32:].sum(1)
    rows = []
    for p, d, u in zip(pixels, digit, upper):
        rows.append({"id": len(rows), "pixels": p / 16, "digit": int(d), "ink": int(u)})
    return rows


def collate(rows):
    rows = [{k: row[k] for k in COLUMNS} for row in rows]
    return {
        "pixels": torch.tensor([list(row["pixels"]) for row in rows], dtype=torch.float32),
        "digit": torch.tensor([row.get("digit", IGNORE) for row in rows]),
        "ink": torch.tensor([row.get("ink", IGNORE) for row in rows]),  #% here
    }


def masked_ce(logits, target):
    valid = (target != IGNORE).sum().clamp(min=1)
    return F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum") / valid


class MultiTask(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1))
        self.digit_head = nn.Linear(64, 10)
        self.ink_head = nn.Linear(64, 2)

    def forward(self, pixels):
        h = self.trunk(pixels)
        return self.digit_head(h), self.ink_head(h)


def main():
    torch.manual_seed(0)  #% seed
    rows = build_rows()
    order = torch.randperm(len(rows)).tolist()
    train = DataLoader([rows[i] for i in order[:1400]], batch_size=50, shuffle=True, collate_fn=collate)
    held_out = [rows[i] for i in order[1400:]]

    model = MultiTask()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for epoch in range(8):
        total = 0.0
        for batch in train:
            digit_logits, ink_logits = model(batch["pixels"])
            loss = masked_ce(digit_logits, batch["digit"]) + masked_ce(ink_logits, batch["ink"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / len(train):.4f}")

    model.eval()
    with torch.no_grad():
        digit_logits, ink_logits = model(torch.tensor([list(r["pixels"]) for r in held_out], dtype=torch.float32))
    digit = torch.tensor([r["digit"] for r in held_out])
    ink = torch.tensor([r["ink"] for r in held_out])
    print(f"digit accuracy {(digit_logits.argmax(1) == digit).float().mean():.3f}")
    print(f"ink accuracy {(ink_logits.argmax(1) == ink).float().mean():.3f}")


main()
