"""Blob counting on 10x10 images with a small batch-normalised network."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def blobs(n_per_count, generator):
    images, counts = [], []
    for count in range(4):
        for _ in range(n_per_count):
            image = 0.2 * torch.randn(10, 10, generator=generator)
            spots = torch.randperm(16, generator=generator)[:count]
            for s in spots.tolist():
                r, c = 1 + 2 * (s // 4), 1 + 2 * (s % 4)
                image[r : r + 2, c : c + 2] += 1
            images.append(image)
            counts.append(count)
    return TensorDataset(torch.stack(images)[:, None], torch.tensor(counts))


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(8 * 25, 32)
        self.fc2 = nn.Linear(32, 4)
        #% if fault:a
        for layer in (self.fc1, self.fc2):  #% here:a
            nn.init.zeros_(layer.weight)  #% here:a
            nn.init.zeros_(layer.bias)
        #% else
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        #% endif

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn(self.conv(x))), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


@torch.no_grad()
def evaluate(model, loader):
    #% if fault:b
    #% else
    model.eval()
    #% endif
    hits = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)  #% here:b
    return hits / len(loader.dataset)


def main(seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    train = DataLoader(blobs(200, generator), batch_size=32, shuffle=True)
    valid = DataLoader(blobs(40, generator), batch_size=20)
    model = Counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(8):
        model.train()
        total = 0.0
        for x, y in train:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} train loss {total / len(train):.4f} valid accuracy {evaluate(model, valid):.3f}")


main(0)  #% seed
