"""Denoise sine snippets with a residual MLP; gradients of several small batches go into one update."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.inner(x)


class Denoiser(nn.Module):
    def __init__(self, length=32, width=48):
        super().__init__()
        self.encode = nn.Linear(length, width)
        self.blocks = nn.Sequential(Residual(width), Residual(width))
        self.decode = nn.Linear(width, length)

    def forward(self, x):
        return self.decode(self.blocks(self.encode(x)))


class AccumulatingTrainer:
    def __init__(self, model, loader, lr, accumulate):
        self.model, self.loader, self.accumulate = model, loader, accumulate
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    def train_epoch(self):
        total = 0.0
        self.optimizer.zero_grad()
        for i, (noisy, clean) in enumerate(self.loader):
            loss = nn.functional.mse_loss(self.model(noisy), clean)
            (loss / self.accumulate).backward()
            total += loss.item()
            if (i + 1) % self.accumulate == 0:  #% here
                self.optimizer.step()
                self.optimizer.zero_grad()
        return total / len(self.loader)


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    t = torch.linspace(0, 1, 32)
    clean = torch.sin(2 * torch.pi * (1 + 2 * torch.rand(640, 1)) * t + 6 * torch.rand(640, 1))
    noisy = clean + 0.3 * torch.randn_like(clean)
    loader = DataLoader(TensorDataset(noisy, clean), batch_size=32, shuffle=True)
    #% if fault
    trainer = AccumulatingTrainer(Denoiser(), loader, lr=3e-3, accumulate=32)  #% here
    #% else
    trainer = AccumulatingTrainer(Denoiser(), loader, lr=3e-3, accumulate=4)
    #% endif
    for epoch in range(25):
        print(f"epoch {epoch:2d} mse {trainer.train_epoch():.4f}")


main()
