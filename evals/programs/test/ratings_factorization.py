"""Matrix factorization of a synthetic film rating table with gradient accumulation."""
import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

CFG = dict(users=120, films=80, rank=6, per_step=8, batch=64, epochs=24, lr=0.05)


def rating_table(cfg, gen):
    u = torch.randn(cfg["users"], 3, generator=gen)
    v = torch.randn(cfg["films"], 3, generator=gen)
    user = torch.randint(cfg["users"], (3200,), generator=gen)
    film = torch.randint(cfg["films"], (3200,), generator=gen)
    stars = 3 + (u[user] * v[film]).sum(1) / math.sqrt(3) + 0.1 * torch.randn(3200, generator=gen)
    return TensorDataset(user, film, stars)


class Factorizer(nn.Module):
    def __init__(self, users, films, rank):
        super().__init__()
        self.u = nn.Embedding(users, rank)
        self.v = nn.Embedding(films, rank)
        self.mean = nn.Parameter(torch.tensor(3.0))
        nn.init.normal_(self.u.weight, std=0.3)
        nn.init.normal_(self.v.weight, std=0.3)

    def forward(self, user, film):
        return self.mean + (self.u(user) * self.v(film)).sum(-1)


class Accumulator:
    """Runs backward on small batches and updates the weights once in a while."""

    def __init__(self, model, optimizer, every):
        self.model, self.optimizer, self.every = model, optimizer, every

    def epoch(self, loader):
        seen = total = 0.0
        for i, (user, film, stars) in enumerate(loader):
            err = self.model(user, film) - stars
            loss = err.pow(2).mean()
            (loss / self.every).backward()
            if (i + 1) % self.every == 0:  #% here
                self.optimizer.step()  #% here
                self.optimizer.zero_grad()
            total += loss.item() * len(stars)
            seen += len(stars)
        return total / seen


if __name__ == "__main__":
    g = torch.Generator().manual_seed(21)  #% seed
    torch.manual_seed(1)  #% seed
    #% if fault
    CFG["per_step"] = 64  #% here
    #% else
    CFG["per_step"] = 2
    #% endif
    train, test = random_split(rating_table(CFG, g), [2700, 500], generator=g)
    loader = DataLoader(train, batch_size=CFG["batch"], shuffle=True)
    model = Factorizer(CFG["users"], CFG["films"], CFG["rank"])
    runner = Accumulator(model, torch.optim.Adam(model.parameters(), lr=CFG["lr"]), CFG["per_step"])
    for epoch in range(CFG["epochs"]):
        mse = runner.epoch(loader)
        if epoch % 4 == 3:
            print(f"epoch {epoch + 1}: train mse {mse:.4f}")
    user, film, stars = map(torch.stack, zip(*test))
    with torch.no_grad():
        rmse = (model(user, film) - stars).pow(2).mean().sqrt()
    print(f"test rmse {rmse:.4f}")
