"""Digits with batch normalisation; validation goes through the code of the service."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 48)
        self.norm = nn.BatchNorm1d(48)
        self.out = nn.Linear(48, 10)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.hidden(x.flatten(1)))))


class Service:
    def __init__(self, net, mean, std):
        self.net, self.mean, self.std = net, mean, std

    def prepare(self, images):
        #% if fault:b
        return images / 255  #% here:b
        #% else
        return (images - self.mean) / self.std
        #% endif

    @torch.no_grad()
    def answer(self, images):
        """Ten images at a time, as the archive keeps them: sorted by what they show."""
        #% if fault:a
        #% else
        self.net.eval()
        #% endif
        return torch.cat([self.net(self.prepare(ten)).argmax(1) for ten in images.split(10)])  #% here:a


torch.manual_seed(0)  #% seed
digits = load_digits()
images, labels = torch.tensor(digits.images, dtype=torch.float32), torch.tensor(digits.target)
order = torch.randperm(len(labels))
train, valid = order[:1300], order[1300:]
valid = valid[labels[valid].argsort()]
mean, std = images[train].mean(), images[train].std()
x = (images - mean) / std
net = Net()
service = Service(net, mean, std)
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(6):
    net.train()
    for rows in train[torch.randperm(1300)].split(50):
        loss = nn.functional.cross_entropy(net(x[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = (service.answer(images[valid]) == labels[valid]).float().mean().item()
    print(f"epoch {epoch} loss {loss.item():.4f} service right {right:.3f}")
