"""Digits with a wide hidden layer in bfloat16 autocast, so that its activations need half the memory."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class WideNet(nn.Module):
    def __init__(self, width=512):
        super().__init__()
        self.enter = nn.Linear(64, width)
        self.leave = nn.Linear(width, 10)

    def forward(self, x):
        hidden = self.enter(x)
        self.size = hidden.numel() * hidden.element_size()
        return self.leave(torch.relu(hidden))


def train(model, loader, epochs, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for epoch in range(epochs):
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad(set_to_none=True)
            #% if fault
            with torch.autocast(device_type="cuda", dtype=torch.bfloat16):  #% here
                loss = nn.functional.cross_entropy(model(x), y)
            #% else
            with torch.autocast(device_type=x.device.type, dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(x), y)
            #% endif
            loss.backward()
            optimizer.step()
            running += loss.item()
        print(f"epoch {epoch} loss {running / len(loader):.4f} hidden activations {model.size / 1024:.1f} KiB per batch")


def main():
    torch.manual_seed(0)  #% seed
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True)
    train(WideNet(), loader, epochs=4, lr=2e-3)


if __name__ == "__main__":
    main()
