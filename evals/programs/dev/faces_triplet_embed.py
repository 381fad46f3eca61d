"""Embed noisy views of 30 objects so that views of one object lie close together (triplets, margin loss)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

OBJECTS, DIM = 30, 24


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(DIM, 64)
        self.fc2 = nn.Linear(64, 16)

    def forward(self, x):
        return F.normalize(self.fc2(F.relu(self.fc1(x))), dim=-1)


class MarginLoss(nn.Module):
    def __init__(self, margin=0.3):
        super().__init__()
        self.margin = margin

    def forward(self, anchor, same, other):
        near = (anchor - same).pow(2).sum(1)
        far = (anchor - other).pow(2).sum(1)
        #% if fault
        return F.relu(far - near + self.margin).mean()  #% here
        #% else
        return F.relu(near - far + self.margin).mean()
        #% endif


def views(objects, which, generator):
    clutter = torch.randn(len(which), DIM, generator=generator)
    clutter[:, : DIM // 2] *= 2.5
    return objects[which] + clutter * 0.6


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    objects = torch.randn(OBJECTS, DIM, generator=generator)
    embed, criterion = Embedder(), MarginLoss()
    optimizer = torch.optim.Adam(embed.parameters(), lr=3e-3)
    for step in range(1, 301):
        a = torch.randint(OBJECTS, (64,), generator=generator)
        b = (a + torch.randint(1, OBJECTS, (64,), generator=generator)) % OBJECTS
        loss = criterion(*(embed(views(objects, w, generator)) for w in (a, a, b)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 30 == 0:
            with torch.no_grad():
                which = torch.arange(OBJECTS).repeat(8)
                gallery, probe = embed(objects), embed(views(objects, which, generator))
                found = (torch.cdist(probe, gallery).argmin(1) == which).float().mean().item()
            print(f"step {step} loss {loss.item():.4f} objects recognised {found:.3f}")


main()
