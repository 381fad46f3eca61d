"""Shape classification on synthetic 12x12 images, with a validation folder that is read class by class."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

SIZE = 12
NAMES = ("bar", "column", "cross", "frame", "diagonal")


def draw(kind, generator):
    image = torch.zeros(SIZE, SIZE)
    a, b = torch.randint(2, SIZE - 3, (2,), generator=generator).tolist()
    if kind == "bar":
        image[a] = 1
    elif kind == "column":
        image[:, b] = 1
    elif kind == "cross":
        image[a] = 1
        image[:, b] = 1
    elif kind == "frame":
        image[a - 2 : a + 3, b - 2] = image[a - 2 : a + 3, b + 2] = 1
        image[a - 2, b - 2 : b + 3] = image[a + 2, b - 2 : b + 3] = 1
    else:
        image += torch.eye(SIZE).roll(a - b, 0)
    brightness = 0.5 + torch.rand((), generator=generator)
    return brightness * image + 0.3 * torch.randn(SIZE, SIZE, generator=generator)


def folder(per_class, generator):
    """Images in the order of the directory listing: one class after the other."""
    images = torch.stack([draw(kind, generator) for kind in NAMES for _ in range(per_class)])
    return TensorDataset(images.unsqueeze(1), torch.arange(len(NAMES)).repeat_interleave(per_class))


class ConvBlock(nn.Sequential):
    def __init__(self, cin, cout):
        super().__init__(nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(), nn.MaxPool2d(2))


class ShapeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.block1 = ConvBlock(1, 12)
        self.block2 = ConvBlock(12, 24)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(24, len(NAMES))

    def forward(self, x):
        x = self.block2(self.block1(x))
        return self.head(self.dropout(x.mean((2, 3))))


def train_one_epoch(model, loader, optimizer):
    model.train()
    total = correct = count = 0
    for x, y in loader:
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
        correct += (logits.argmax(1) == y).sum().item()
        count += len(x)
    return total / count, correct / count


@torch.no_grad()
def validate(model, loader):
    #% if fault
    #% else
    model.eval()
    #% endif
    correct = count = 0
    for x, y in loader:  #% here
        correct += (model(x).argmax(1) == y).sum().item()  #% here
        count += len(x)
    return correct / count


def main(seed):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    train_loader = DataLoader(folder(160, generator), batch_size=32, shuffle=True)
    valid_loader = DataLoader(folder(32, generator), batch_size=32)
    model = ShapeNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(8):
        loss, accuracy = train_one_epoch(model, train_loader, optimizer)
        print(f"epoch {epoch}: loss {loss:.3f}, train acc {accuracy:.3f}, valid acc {validate(model, valid_loader):.3f}")


if __name__ == "__main__":
    main(seed=0)  #% seed
