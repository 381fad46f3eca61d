"""Digit recogniser whose module returns class scores for both training and inference."""
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


class Recognizer(nn.Module):
    def __init__(self, width=80):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.out = nn.Linear(width, 10)

    def forward(self, x):
        #% if fault
        return torch.softmax(self.out(self.body(x)), dim=-1)  #% here
        #% else
        return self.out(self.body(x))
        #% endif

    @torch.no_grad()
    def predict(self, x):
        self.eval()
        return self(x).argmax(-1)


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    data, target = load_digits(return_X_y=True)
    data = torch.tensor((data - 8) / 8, dtype=torch.float32)
    target = torch.tensor(target)
    perm = rng.permutation(len(data))
    train, test = perm[:1300], perm[1300:]

    model = Recognizer()
    criterion = nn.CrossEntropyLoss()  #% here
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(10):
        model.train()
        rng.shuffle(train)
        epoch_loss = []
        for k in range(0, len(train) - 31, 32):
            index = train[k : k + 32]
            optimizer.zero_grad()
            loss = criterion(model(data[index]), target[index])
            loss.backward()
            optimizer.step()
            epoch_loss.append(loss.item())
        accuracy = (model.predict(data[test]) == target[test]).float().mean().item()
        print(f"epoch {epoch}: mean loss {np.mean(epoch_loss):.4f}, test accuracy {accuracy:.4f}")


main()
