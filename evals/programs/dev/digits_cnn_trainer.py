import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class SmallCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.conv2 = nn.Conv2d(12, 24, 3, padding=1)
        self.fc1 = nn.Linear(24 * 2 * 2, 48)
        self.fc2 = nn.Linear(48, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


class Trainer:
    """Keeps model, optimizer and data together and prints one line per epoch."""

    def __init__(self, model, lr, batch_size=64, momentum=0.9):
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
        self.batch_size = batch_size
        data = load_digits()
        images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(data.target)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
        self.train_set = images[order[:1400]], labels[order[:1400]]
        self.valid_set = images[order[1400:]], labels[order[1400:]]

    def train_epoch(self):
        x, y = self.train_set
        total = 0.0
        for index in torch.randperm(len(x)).split(self.batch_size):
            loss = F.cross_entropy(self.model(x[index]), y[index])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(index)
        return total / len(x)

    @torch.no_grad()
    def evaluate(self):
        x, y = self.valid_set
        return (self.model(x).argmax(1) == y).float().mean().item()

    def fit(self, epochs):
        for epoch in range(epochs):
            loss = self.train_epoch()
            print(f"epoch {epoch} train_loss {loss:.4f} valid_acc {self.evaluate():.4f}", flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)  #% seed
    #% if fault
    Trainer(SmallCNN(), lr=1.0).fit(epochs=8)  #% here
    #% else
    Trainer(SmallCNN(), lr=0.05).fit(epochs=8)
    #% endif
