from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split


@dataclass
class History:
    loss: list = field(default_factory=list)
    accuracy: list = field(default_factory=list)

    def log(self, loss, accuracy):
        self.loss.append(loss)
        self.accuracy.append(accuracy)
        print(f"epoch={len(self.loss)} loss={loss:.4f} acc={accuracy:.3f}")


def load():
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    parts = train_test_split(x, y, test_size=50, stratify=y, random_state=0)
    return [torch.as_tensor(p, dtype=torch.float32 if p.ndim == 2 else torch.long) for p in parts]


def train_step(model, batch, criterion, optimizer):
    x, y = batch
    loss = criterion(model(x), y)
    #% if fault
    loss.backward()  #% here
    optimizer.zero_grad()  #% here
    optimizer.step()  #% here
    #% else
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    #% endif
    return loss.item()


def fit(model, epochs=20, batch_size=16, lr=0.02):
    x_train, x_test, y_train, y_test = load()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    criterion = torch.nn.CrossEntropyLoss()
    history = History()
    for _ in range(epochs):
        order = torch.randperm(len(x_train))
        losses = [
            train_step(model, (x_train[i], y_train[i]), criterion, optimizer) for i in order.split(batch_size)
        ]
        with torch.no_grad():
            accuracy = (model(x_test).argmax(-1) == y_test).float().mean()
        history.log(sum(losses) / len(losses), accuracy.item())
    return history


torch.manual_seed(0)  #% seed
model = torch.nn.Sequential(
    torch.nn.Linear(4, 24), torch.nn.ReLU(), torch.nn.Linear(24, 24), torch.nn.ReLU(), torch.nn.Linear(24, 3)
)
fit(model)
