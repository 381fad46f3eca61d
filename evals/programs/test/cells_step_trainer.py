"""Breast cancer cells: a trainer that counts steps instead of epochs."""
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class StepTrainer:
    def __init__(self, model, train_set, batch_size=16, lr=1e-2):
        self.model = model
        self.loader = DataLoader(train_set, batch_size=batch_size, shuffle=True)
        self.optimizer = torch.optim.Adagrad(model.parameters(), lr=lr)
        self.step_count = 0
        #% if fault
        self.batch = next(iter(self.loader))  #% here
        #% else
        self.stream = iter(self.loader)
        #% endif

    def next_batch(self):
        #% if fault
        return self.batch  #% here
        #% else
        batch = next(self.stream, None)
        if batch is None:
            self.stream = iter(self.loader)
            batch = next(self.stream)
        return batch
        #% endif

    def step(self):
        x, y = self.next_batch()
        self.optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(self.model(x)[:, 0], y)
        loss.backward()
        self.optimizer.step()
        self.step_count += 1
        return loss.item()

    def run(self, steps):
        for _ in range(steps):
            loss = self.step()
            if self.step_count % 25 == 0:
                print(f"step {self.step_count:4d} loss {loss:.5f}")


def cells(seed):
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    x = torch.tensor(x, dtype=torch.float32) + 1.6 * noise
    return x, torch.tensor(y, dtype=torch.float32)


if __name__ == "__main__":
    seed = int(1)  #% seed
    torch.manual_seed(seed)
    x, y = cells(seed)
    pick = torch.randperm(len(x))
    train, test = pick[:400], pick[400:]
    net = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))
    StepTrainer(net, TensorDataset(x[train], y[train])).run(250)
    with torch.no_grad():
        acc = ((net(x[test])[:, 0] > 0).float() == y[test]).float().mean()
    print(f"test accuracy {acc.item():.3f}")
