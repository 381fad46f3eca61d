"""Embed songs with a small autoencoder, then look up the nearest neighbours of all of them."""

import torch
from torch import nn

SONGS, FEATURES, CODE = 60_000, 24, 64


def songs(generator):
    style = torch.randint(12, (SONGS,), generator=generator)
    centers = torch.randn(12, FEATURES, generator=generator)
    return centers[style] + 0.4 * torch.randn(SONGS, FEATURES, generator=generator), style


def nearest(queries, codes):
    #% if fault
    distance = (queries[:, None] - codes[None]).square().sum(-1)  #% here
    distance.fill_diagonal_(float("inf"))
    return distance.argmin(1)
    #% else
    found = []
    for start in range(0, 2000, 500):
        distance = torch.cdist(queries[start : start + 500], codes)
        distance[torch.arange(500), torch.arange(start, start + 500)] = float("inf")
        found.append(distance.argmin(1))
    return torch.cat(found)
    #% endif


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    x, style = songs(generator)
    encoder = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, CODE))
    decoder = nn.Linear(CODE, FEATURES)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    for step in range(1, 101):
        rows = torch.randint(SONGS, (64,), generator=generator)
        loss = nn.functional.mse_loss(decoder(encoder(x[rows])), x[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step} loss {loss.item():.4f}")
    with torch.no_grad():
        codes = encoder(x)
        found = nearest(codes, codes)
    print(f"neighbours of the same style {(style[found] == style[: len(found)]).float().mean():.3f}")


main()
