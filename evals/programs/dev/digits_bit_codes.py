"""Autoencoder that stores a digit in sixteen bits."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits


class BitAutoencoder(nn.Module):
    def __init__(self, bits=16):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, bits))
        self.decoder = nn.Sequential(nn.Linear(bits, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid())

    def forward(self, x):
        p = torch.sigmoid(self.encoder(x))
        #% if fault
        bits = p.round()  #% here
        #% else
        bits = p + (p.round() - p).detach()
        #% endif
        return self.decoder(2 * bits - 1)


def main():
    torch.manual_seed(0)  #% seed
    x = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    x = x[torch.randperm(len(x))]
    train, test = x[:1400], x[1400:]
    model = BitAutoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(20):
        total = 0.0
        for batch in train[torch.randperm(len(train))].split(64):
            loss = nn.functional.mse_loss(model(batch), batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        if epoch % 4 == 3:
            with torch.no_grad():
                test_loss = nn.functional.mse_loss(model(test), test).item()
            print(f"epoch {epoch + 1:2d} train {total / len(train):.5f} test {test_loss:.5f}")


if __name__ == "__main__":
    main()
