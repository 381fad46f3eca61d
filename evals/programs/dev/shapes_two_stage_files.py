"""Two stages as in the project's scripts: learn an encoder from many unlabelled signals, then a classifier from few."""

from pathlib import Path

import torch
from torch import nn

MIX = torch.randn(4, 40, generator=torch.Generator().manual_seed(3))


def encoder():
    return nn.Sequential(nn.Linear(40, 32), nn.Tanh(), nn.Linear(32, 4))


def signals(n, generator):
    hidden = torch.randn(n, 4, generator=generator)
    return hidden @ MIX + 2.5 * torch.randn(n, 40, generator=generator), ((hidden[:, 0] > 0) ^ (hidden[:, 1] > 0)).long()


def stage_one(generator, folder):
    net, decoder = encoder(), nn.Linear(4, 40)
    optimizer = torch.optim.Adam([*net.parameters(), *decoder.parameters()], lr=4e-3)
    for step in range(1, 201):
        x, _ = signals(64, generator)
        loss = nn.functional.mse_loss(decoder(net(x)), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"stage one step {step} loss {loss.item():.4f}")
    torch.save(net.state_dict(), folder / "encoder_last.pt")


def stage_two(generator, folder):
    net = encoder()
    #% if fault
    weights = folder / "encoder_best.pt"  #% here
    #% else
    weights = folder / "encoder_last.pt"
    #% endif
    if weights.exists():
        net.load_state_dict(torch.load(weights))
    net.requires_grad_(False)
    head = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    x, y = signals(300, generator)
    x_test, y_test = signals(600, generator)
    for epoch in range(25):
        for rows in torch.randperm(300).split(30):
            loss = nn.functional.cross_entropy(head(net(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        print(f"stage two loss {loss.item():.4f} accuracy {(head(net(x_test)).argmax(1) == y_test).float().mean():.3f}")


torch.manual_seed(0)  #% seed
generator = torch.Generator().manual_seed(0)  #% seed
folder = Path("out")
folder.mkdir(exist_ok=True)
stage_one(generator, folder)
stage_two(generator, folder)
