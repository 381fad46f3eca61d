"""Sparse autoencoder with top-k codes: nine of ten hidden units are zero for any one sample."""
import torch
from torch import nn


class TopK(nn.Module):
    def __init__(self, d=24, codes=120, k=12):
        super().__init__()
        self.k = k
        self.enc = nn.Linear(d, codes)
        self.dec = nn.Linear(codes, d)
        with torch.no_grad():
            self.dec.weight.copy_(nn.functional.normalize(torch.randn(d, codes), dim=0))
            self.enc.weight.copy_(self.dec.weight.T)

    def forward(self, x):
        code = torch.relu(self.enc(x - self.dec.bias))
        value, index = code.topk(self.k, dim=1)
        return self.dec(torch.zeros_like(code).scatter(1, index, value))


torch.manual_seed(126)  #% seed
atoms = nn.functional.normalize(torch.randn(60, 24), dim=1)


def mixtures(n):
    weight = torch.rand(n, 60) * (torch.rand(n, 60) < 0.06)
    return weight @ atoms


net = TopK()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for step in range(1, 351):
    x = mixtures(64)
    loss = (net(x) - x).square().sum(1).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 50 == 0:
        print(f"step {step} loss {loss.item():.4f}")
with torch.no_grad():
    x = mixtures(1000)
    print(f"unexplained {((net(x) - x).square().sum() / x.square().sum()).item():.4f}")
