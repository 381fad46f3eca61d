"""Breast cancer screening net."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn


class Screening(nn.Module):
    def __init__(self, n_features, hidden=20):
        super().__init__()
        #% if fault
        n_out = 1  #% here
        #% else
        n_out = 2
        #% endif
        self.stack = nn.Sequential(nn.Linear(n_features, hidden), nn.ELU(), nn.Linear(hidden, n_out))

    def forward(self, x):
        return self.stack(x)


def predict(logits):
    return (logits > 0).long().squeeze(1) if logits.size(1) == 1 else logits.argmax(1)


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=150, random_state=3)
    x_train, x_test = (torch.tensor(v, dtype=torch.float32) for v in (x_train, x_test))
    y_train, y_test = torch.tensor(y_train), torch.tensor(y_test)
    model = Screening(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(10):
        total = 0.0
        for rows in torch.randperm(len(x_train)).split(32):
            logits = model(x_train[rows])
            target = y_train[rows] if logits.size(1) > 1 else y_train[rows, None].float()
            loss = nn.functional.cross_entropy(logits, target)  #% here
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            accuracy = (predict(model(x_test)) == y_test).float().mean().item()
        print(f"epoch {epoch} loss {total / 14:.4f} test accuracy {accuracy:.3f}")


main()
