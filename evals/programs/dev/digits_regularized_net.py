"""Digits with a regularised three-layer network."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class RegularizedNet(nn.Module):
    def __init__(self, p=0.6):
        super().__init__()
        self.p = p
        self.fc1 = nn.Linear(64, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, x):
        #% if fault
        x = F.dropout(F.relu(self.fc1(x)), self.p)  #% here
        x = F.dropout(F.relu(self.fc2(x)), self.p)  #% here
        #% else
        x = F.dropout(F.relu(self.fc1(x)), self.p, self.training)
        x = F.dropout(F.relu(self.fc2(x)), self.p, self.training)
        #% endif
        return self.fc3(x)


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    order = torch.randperm(len(x))
    x, y = torch.tensor(x / 16, dtype=torch.float32)[order], torch.tensor(y)[order]
    model = RegularizedNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(15):
        model.train()
        losses = []
        for rows in torch.randperm(1300).split(64):
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            logits = model(x[1300:])
        valid_loss = F.cross_entropy(logits, y[1300:]).item()
        accuracy = (logits.argmax(1) == y[1300:]).float().mean().item()
        print(f"epoch {epoch:2d} train {sum(losses) / len(losses):.4f} valid {valid_loss:.4f} accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
