"""Concentric rings with a two-layer net written down to the matrices."""
import torch
from sklearn.datasets import make_circles
from torch import nn

torch.manual_seed(14)  #% seed
X, t = make_circles(1500, noise=0.1, factor=0.45, random_state=14)
X, t = torch.tensor(X, dtype=torch.float32), torch.tensor(t, dtype=torch.float32)


class TwoLayer(nn.Module):
    def __init__(self, d_in, d_hidden):
        super().__init__()
        #% if fault
        self.W = nn.Parameter(torch.full((d_in, d_hidden), 0.2))  #% here
        self.b = nn.Parameter(torch.zeros(d_hidden))
        self.v = nn.Parameter(torch.full((d_hidden,), 0.2))  #% here
        #% else
        self.W = nn.Parameter(torch.randn(d_in, d_hidden) * 0.7)
        self.b = nn.Parameter(torch.zeros(d_hidden))
        self.v = nn.Parameter(torch.randn(d_hidden) * 0.2)
        #% endif
        self.c = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return torch.tanh(x @ self.W + self.b) @ self.v + self.c


net = TwoLayer(2, 20)
opt = torch.optim.Adam(net.parameters(), lr=0.03)
train, test = slice(0, 1100), slice(1100, None)
for epoch in range(15):
    for idx in torch.randperm(1100).split(50):
        loss = nn.functional.binary_cross_entropy_with_logits(net(X[idx]), t[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        acc = ((net(X[test]) > 0) == (t[test] > 0.5)).float().mean().item()
    print(f"epoch {epoch:2d}  bce {loss.item():.3f}  test acc {acc:.3f}")
