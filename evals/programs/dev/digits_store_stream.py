"""Digits stored class by class, streamed in the order of the store."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def read_store(seed):
    """As on disk: all zeros, then all ones, and so on; a fifth of each class is kept for testing."""
    digits = load_digits()
    rng = np.random.default_rng(seed)
    train, test = [], []
    for label in range(10):
        members = rng.permutation(np.flatnonzero(digits.target == label))
        cut = len(members) // 5
        test.append(members[:cut])
        train.append(members[cut:])
    to_set = lambda parts: TensorDataset(
        torch.tensor(digits.data[np.concatenate(parts)] / 16, dtype=torch.float32),
        torch.tensor(digits.target[np.concatenate(parts)]),
    )
    return to_set(train), to_set(test)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.classifier = nn.Linear(64, 10)

    def forward(self, x):
        return self.classifier(self.encoder(x))


def main():
    seed = 0  #% seed
    torch.manual_seed(seed)
    train_set, test_set = read_store(seed)
    #% if fault
    train_loader = DataLoader(train_set, batch_size=32)  #% here
    #% else
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    #% endif
    test_loader = DataLoader(test_set, batch_size=256)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(8):
        for i, (x, y) in enumerate(train_loader):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if i % 15 == 0:
                print(f"epoch {epoch} batch {i} loss {loss.item():.4f}")
        with torch.no_grad():
            correct = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
        print(f"epoch {epoch} test accuracy {correct / len(test_set):.3f}")


if __name__ == "__main__":
    main()
