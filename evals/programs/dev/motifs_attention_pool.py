"""Spot which motif occurs in a trace: per-frame features, one attention layer, served one trace at a time."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

FRAMES, MOTIFS = 24, 4


def traces(n, generator):
    """Noise with a short motif somewhere; the motif tells the class."""
    shapes = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [-2, -2, 0]])
    kind = torch.randint(MOTIFS, (n,), generator=generator)
    x = 0.6 * torch.randn(n, FRAMES, 3, generator=generator)
    start = torch.randint(FRAMES - 3, (n,), generator=generator)
    for k in range(3):
        x[torch.arange(n), start + k] += shapes[kind]
    return x, kind


class Spotter(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.frame = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width))
        self.summary = nn.Parameter(0.1 * torch.randn(1, 1, width))
        #% if fault
        self.mix = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0)  #% here
        #% else
        self.mix = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True)
        #% endif
        self.classify = nn.Linear(width, MOTIFS)

    def forward(self, x):
        tokens = torch.cat([self.summary.expand(len(x), -1, -1), self.frame(x)], dim=1)
        return self.classify(self.mix(tokens)[:, 0])


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(*traces(900, generator)), batch_size=45, shuffle=True)
    x_new, kind_new = traces(200, generator)
    model = Spotter()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(9):
        model.train()
        total, hits = 0.0, 0
        for x, kind in loader:
            logits = model(x)
            loss = nn.functional.cross_entropy(logits, kind)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            hits += (logits.argmax(1) == kind).sum().item()
        model.eval()
        with torch.no_grad():
            served = sum(model(x[None]).argmax().item() == k for x, k in zip(x_new, kind_new.tolist(), strict=True)) / 200
        print(f"epoch {epoch} loss {total / len(loader):.4f} train {hits / 900:.3f} served {served:.3f}")


main()
