from itertools import islice

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

MICRO_BATCH = 16
MICRO_STEPS = 8


class LeNetish(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


def chunks(iterable, size):
    iterator = iter(iterable)
    while chunk := list(islice(iterator, size)):
        yield chunk


if __name__ == "__main__":
    torch.manual_seed(0)  #% seed
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(images[:1408], labels[:1408]), batch_size=MICRO_BATCH, shuffle=True)
    model = LeNetish()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.35, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    step = 0
    for epoch in range(10):
        for group in chunks(loader, MICRO_STEPS):
            optimizer.zero_grad()
            shown = 0.0
            for x, y in group:
                loss = criterion(model(x), y)
                #% if fault
                loss.backward()  #% here
                #% else
                (loss / len(group)).backward()
                #% endif
                shown += loss.item() / len(group)
            optimizer.step()
            step += 1
            if step % 10 == 0:
                print(f"step {step} loss {shown:.4f}")
    with torch.no_grad():
        accuracy = (model(images[1408:]).argmax(1) == labels[1408:]).float().mean()
    print(f"held-out accuracy {accuracy:.3f}")
