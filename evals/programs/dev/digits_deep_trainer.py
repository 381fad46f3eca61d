"""Trainer that checks its validation pass once before it starts, so that a typing error there shows early."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


def block(a, b):
    return nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU())


class DeepNet(nn.Module):
    def __init__(self, width=48, depth=6):
        super().__init__()
        self.blocks = nn.Sequential(block(64, width), *[block(width, width) for _ in range(depth - 1)])
        self.out = nn.Linear(width, 10)

    def forward(self, x):
        return self.out(self.blocks(x))


class Trainer:
    def __init__(self, model, train_loader, valid_loader, lr):
        self.model = model
        self.train_loader = train_loader
        self.valid_loader = valid_loader
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        self.criterion = nn.CrossEntropyLoss()

    @torch.no_grad()
    def validate(self, limit=None):
        self.model.eval()  #% here
        correct = seen = 0
        for i, (x, y) in enumerate(self.valid_loader):
            if limit is not None and i >= limit:
                break
            correct += (self.model(x).argmax(1) == y).sum().item()
            seen += len(y)
        return correct / seen

    def run(self, epochs):
        self.validate(limit=1)
        #% if fault
        #% else
        self.model.train()
        #% endif
        for epoch in range(epochs):
            total = 0.0
            for x, y in self.train_loader:  #% here
                loss = self.criterion(self.model(x), y)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.item()
            accuracy = self.validate()
            #% if fault
            #% else
            self.model.train()
            #% endif
            print(f"epoch {epoch} train loss {total / len(self.train_loader):.4f} valid accuracy {accuracy:.4f}")


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    train, valid = torch.utils.data.random_split(data, [1400, 397])
    trainer = Trainer(
        DeepNet(), DataLoader(train, batch_size=50, shuffle=True), DataLoader(valid, batch_size=200), lr=0.02
    )
    trainer.run(epochs=6)


if __name__ == "__main__":
    main()
