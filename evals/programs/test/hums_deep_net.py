"""Which of five machines hums? Spectra into a deep narrow net."""
import torch
import torch.nn as nn


class Hum(nn.Module):
    def __init__(self, depth=8, width=24, classes=5):
        super().__init__()
        self.inp = nn.Linear(20, width)
        self.mid = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        #% if fault
        x = torch.sigmoid(self.inp(x))
        for layer in self.mid:
            x = torch.sigmoid(layer(x))  #% here
        #% else
        x = torch.relu(self.inp(x))
        for layer in self.mid:
            x = x + torch.relu(layer(x))
        #% endif
        return self.out(x)


def spectra(prototypes, n):
    m = torch.randint(5, (n,))
    return prototypes[m] * (0.5 + torch.rand(n, 1)) + 0.6 * torch.randn(n, 20), m


torch.manual_seed(76)  #% seed
prototypes = torch.randn(5, 20)
x, m = spectra(prototypes, 1500)
xt, mt = spectra(prototypes, 500)
hum = Hum()
opt = torch.optim.SGD(hum.parameters(), lr=0.02, momentum=0.9)
for epoch in range(10):
    for idx in torch.randperm(1500).split(50):
        loss = nn.functional.cross_entropy(hum(x[idx]), m[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        print(f"epoch {epoch} loss {loss.item():.4f} accuracy {(hum(xt).argmax(1) == mt).float().mean().item():.3f}")
