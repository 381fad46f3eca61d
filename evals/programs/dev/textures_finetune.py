"""Fine-tune a small texture network: first layers keep their weights, the rest adapts to new textures."""

import torch
import torch.nn as nn


def textures(n, kinds, generator):
    """Plane waves of a given direction and frequency; one class per kind."""
    grid = torch.stack(torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij"))
    label = torch.randint(len(kinds), (n,), generator=generator)
    vector = torch.tensor(kinds)[label]
    phase = 6.28 * torch.rand(n, 1, 1, generator=generator)
    wave = torch.sin(vector[:, 0, None, None] * grid[0] + vector[:, 1, None, None] * grid[1] + phase)
    return (wave + 0.5 * torch.randn(n, 10, 10, generator=generator)).unsqueeze(1), label


class TextureNet(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.conv_fc1 = nn.Linear(8, 32)
        self.conv_fc2 = nn.Linear(32, 32)
        self.out = nn.Linear(32, n_classes)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        x = x.square().mean((2, 3))
        x = torch.relu(self.conv_fc1(x))
        return self.out(torch.relu(self.conv_fc2(x)))


def fit(model, x, y, steps, lr, tag):
    active = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(active, lr=lr)
    for step in range(steps):
        rows = torch.randint(len(x), (64,))
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 40 == 39:
            print(f"{tag} step {step + 1} loss {loss.item():.4f}")


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    old = [(0.6, 0.0), (1.6, 0.0)]
    new = [(0.0, 0.6), (0.0, 1.4), (0.9, 0.9), (0.9, -0.9), (2.2, 0.3)]

    model = TextureNet(n_classes=2)
    fit(model, *textures(800, old, generator), steps=80, lr=5e-3, tag="pretrain")

    model.out = nn.Linear(32, len(new))
    for name, parameter in model.named_parameters():
        #% if fault
        parameter.requires_grad = not name.startswith("conv")  #% here
        #% else
        parameter.requires_grad = not name.startswith("conv1.")
        #% endif
    x, y = textures(1500, new, generator)
    fit(model, x, y, steps=240, lr=5e-3, tag="finetune")
    x, y = textures(500, new, generator)
    with torch.no_grad():
        print(f"accuracy on new textures {(model(x).argmax(1) == y).float().mean():.3f}")


main()
