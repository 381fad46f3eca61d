"""Running sums modulo five, on sequences that get longer in stages."""

import torch
from torch import nn

MODULUS = 5
STAGES = ((3, 120), (6, 120), (10, 160))


class Summer(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(MODULUS, 16)
        self.gru = nn.GRU(16, hidden, batch_first=True)
        self.out = nn.Linear(hidden, MODULUS)

    def forward(self, x):
        return self.out(self.gru(self.embed(x))[0])


def main():
    torch.manual_seed(0)  #% seed
    model = Summer()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for length, steps in STAGES:
        print(f"length {length}")
        for step in range(1, steps + 1):
            x = torch.randint(MODULUS, (48, length))
            logits = model(x)
            goal = x.cumsum(1) % MODULUS
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), goal.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step == 1 or step % 40 == 0:
                accuracy = (logits.argmax(-1) == goal).float().mean().item()
                print(f"  step {step} loss {loss.item():.4f} accuracy {accuracy:.3f}")


main()
