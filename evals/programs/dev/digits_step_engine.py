import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset


class Engine:
    """Runs a given number of steps, whatever the length of the loader."""

    def __init__(self, model, loader, optimizer, loss_fn):
        self.model, self.loader, self.optimizer, self.loss_fn = model, loader, optimizer, loss_fn
        self.iterator = iter(loader)

    def next_batch(self):
        #% if fault
        return next(iter(self.loader))  #% here
        #% else
        try:
            return next(self.iterator)
        except StopIteration:
            self.iterator = iter(self.loader)
            return next(self.iterator)
        #% endif

    def run(self, steps, every, check):
        for step in range(1, steps + 1):
            x, y = self.next_batch()
            loss = self.loss_fn(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if step % every == 0:
                print(f"step {step:4d} loss {loss.item():.5f} validation accuracy {check():.3f}")


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    order = torch.randperm(len(data)).tolist()
    # the subset is already in random order
    loader = DataLoader(Subset(data, order[:1400]), batch_size=32)
    valid_x, valid_y = data[order[1400:]]
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def check():
        with torch.no_grad():
            return (model(valid_x).argmax(1) == valid_y).float().mean().item()

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    Engine(model, loader, optimizer, nn.CrossEntropyLoss()).run(steps=240, every=30, check=check)


if __name__ == "__main__":
    main()
