"""Match sounds to pictures with a contrastive loss over the batch (two encoders, learned temperature)."""

import torch
from torch import nn
from torch.nn import functional as F


class Encoder(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 64), nn.GELU(), nn.Linear(64, 24))

    def forward(self, x):
        return F.normalize(self.layers(x), dim=-1)


class Matcher(nn.Module):
    def __init__(self):
        super().__init__()
        self.sound, self.picture = Encoder(20), Encoder(30)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, sound, picture):
        similarity = self.log_scale.exp() * self.sound(sound) @ self.picture(picture).T
        same = torch.arange(len(sound))
        return (F.cross_entropy(similarity, same) + F.cross_entropy(similarity.T, same)) / 2


def pairs(n, mix, generator):
    hidden = torch.randn(n, 6, generator=generator)
    sound = torch.tanh(hidden @ mix[0]) + 0.1 * torch.randn(n, 20, generator=generator)
    return sound, torch.tanh(hidden @ mix[1]) + 0.1 * torch.randn(n, 30, generator=generator)


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    mix = torch.randn(6, 20, generator=generator), torch.randn(6, 30, generator=generator)
    sounds, pictures = pairs(1500, mix, generator)
    model = Matcher()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(10):
        for rows in torch.randperm(1200, generator=generator).split(60):
            loss = model(sounds[rows], pictures[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            found = (model.sound(sounds[1200:]) @ model.picture(pictures[1200:]).T).argmax(1)
        hit = (found == torch.arange(300)).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} scale {model.log_scale.exp().item():.1f} found among 300 {hit:.3f}")


main()
