"""Linear probe: how much do features learned on half of the digits tell about the other half?"""

import torch
from sklearn.datasets import load_digits
from torch import nn


def data():
    d = load_digits()
    x = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(d.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    return x[order], y[order]


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x)


class Classifier(nn.Module):
    def __init__(self, backbone, n_out):
        super().__init__()
        self.backbone = backbone
        self.probe = nn.Linear(96, n_out)

    def forward(self, x):
        return self.probe(self.backbone(x))


def train(model, parameters, x, y, epochs, lr):
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for epoch in range(epochs):
        total = 0.0
        for index in torch.randperm(len(x)).split(32):
            loss = nn.functional.cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index)
        print(f"  epoch {epoch + 1}/{epochs} loss {total / len(x):.4f}")


def main():
    torch.manual_seed(0)  #% seed
    x, y = data()
    low = y < 5

    print("pretraining on digits 0-4")
    pretrained = Classifier(Backbone(), 5)
    train(pretrained, pretrained.parameters(), x[low][:600], y[low][:600], epochs=6, lr=3e-3)

    print("probing digits 5-9, backbone frozen")
    model = Classifier(pretrained.backbone, 5)
    model.backbone.requires_grad_(False)
    model.backbone.eval()
    x_high, y_high = x[~low], y[~low] - 5
    train(model, model.probe.parameters(), x_high[:600], y_high[:600], epochs=10, lr=1e-2)
    model.eval()
    with torch.no_grad():
        accuracy = (model(x_high[600:]).argmax(1) == y_high[600:]).float().mean()
    print(f"probe accuracy {accuracy:.3f}")


main()
