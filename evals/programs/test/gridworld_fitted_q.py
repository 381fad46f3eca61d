"""Q-learning on a small corridor from a fixed buffer, with a target network that is copied now and then."""
import copy
import random

import torch
from torch import nn

CELLS, GOAL = 9, 8


def move(cell, action):
    nxt = max(0, min(CELLS - 1, cell + (1 if action else -1)))
    return nxt, float(nxt == GOAL), nxt == GOAL


def collect(n, rng):
    rows = []
    for _ in range(n):
        cell, action = rng.randrange(CELLS - 1), rng.randrange(2)
        rows.append((cell, action, *move(cell, action)))
    cell, action, nxt, reward, done = map(torch.tensor, zip(*rows))
    return cell, action, nxt, reward, done.float()


class Q(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(CELLS, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, cell):
        return self.body(nn.functional.one_hot(cell, CELLS).float())


if __name__ == "__main__":
    rng = random.Random(122)  #% seed
    torch.manual_seed(122)  #% seed
    buffer = collect(800, rng)
    q = Q()
    frozen = copy.deepcopy(q).requires_grad_(False)
    opt = torch.optim.Adam(q.parameters(), lr=5e-3)
    for step in range(1, 401):
        i = torch.randint(800, (32,))
        cell, action, nxt, reward, done = (part[i] for part in buffer)
        with torch.no_grad():
            goal = reward + 0.9 * (1 - done) * frozen(nxt).max(1).values
        value = q(cell).gather(1, action[:, None]).squeeze(1)
        loss = nn.functional.smooth_l1_loss(value, goal)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 20 == 0:
            frozen.load_state_dict(q.state_dict())
        if step % 50 == 0:
            print(f"step {step} td loss {loss.item():.5f} mean value {value.mean().item():.3f}")
    with torch.no_grad():
        error = (q(torch.arange(CELLS - 1))[:, 1] - 0.9 ** torch.arange(CELLS - 2, -1, -1)).abs().max()
    print(f"largest value error {error.item():.4f}")
