"""Start from weights trained on plenty of scans, then adapt with the few scans of the new reader."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def init_weights(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.1)
                nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.head(self.encoder(x))


def build(weights=None):
    net = DigitNet()
    #% if fault
    if weights is not None:
        net.load_state_dict(torch.load(weights))
    net.init_weights()  #% here
    #% else
    net.init_weights()
    if weights is not None:
        net.load_state_dict(torch.load(weights))
    #% endif
    return net


def fit(net, x, y, epochs, lr, batch):
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x)).split(batch):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows) / len(x)
        print(f"  epoch {epoch} loss {total:.4f}")


torch.manual_seed(0)  #% seed
digits = load_digits()
order = torch.randperm(len(digits.target))
x, y = torch.tensor(digits.data / 16, dtype=torch.float32)[order], torch.tensor(digits.target)[order]
rotated = x.view(-1, 8, 8).roll(1, 2).flatten(1)

print("all scans")
source = build()
fit(source, x[:1200], y[:1200], epochs=6, lr=3e-3, batch=40)
torch.save(source.state_dict(), "digits.pt")

print("new reader")
net = build("digits.pt")
fit(net, rotated[1200:1260], y[1200:1260], epochs=8, lr=2e-3, batch=20)
with torch.no_grad():
    accuracy = (net(rotated[1260:]).argmax(1) == y[1260:]).float().mean().item()
print(f"new reader accuracy {accuracy:.3f}")
