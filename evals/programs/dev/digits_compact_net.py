"""Digits with all parameters in bfloat16 to halve the memory of weights and optimizer."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.fc1 = nn.Linear(64, width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, 10)

    def forward(self, x):
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x))
    train, test = order[:1400], order[1400:]
    #% if fault
    dtype = torch.bfloat16  #% here
    #% else
    dtype = torch.float32
    #% endif
    net = Net().to(dtype)  #% here
    optimizer = torch.optim.Adam(net.parameters(), lr=1.5e-4)
    for epoch in range(18):
        total = 0.0
        for rows in train[torch.randperm(1400)].split(50):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(net(x[rows].to(dtype)).float(), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch % 3 == 2:
            with torch.no_grad():
                accuracy = (net(x[test].to(dtype)).argmax(1) == y[test]).float().mean().item()
            print(f"epoch {epoch} loss {total / 28:.4f} accuracy {accuracy:.3f}")


main()
