"""Alarm from six vibration sensors; an alarm is due in about three of a hundred windows."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


def windows(n):
    alarm = (torch.rand(n) < 0.03).long()
    level = torch.randn(n, 6)
    level[:, :3] += 1.1 * alarm[:, None]
    level[:, 3] += 0.8 * (level[:, 4] * alarm)
    return level, alarm


class AlarmNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 24), nn.ReLU())
        self.decide = nn.Linear(24, 2)

    def forward(self, x):
        return self.decide(self.body(x))


def report(net, x, y):
    with torch.no_grad():
        said = net(x).argmax(1)
    accuracy = (said == y).float().mean().item()
    caught = (said[y == 1] == 1).float().mean().item()
    return f"accuracy {accuracy:.3f} alarms caught {caught:.3f}"


def main():
    torch.manual_seed(0)  #% seed
    x, y = windows(3000)
    x_test, y_test = windows(3000)
    dataset = TensorDataset(x, y)
    #% if fault
    loader = DataLoader(dataset, batch_size=100, shuffle=True)  #% here
    #% else
    share = torch.bincount(y, minlength=2) / len(y)
    loader = DataLoader(dataset, batch_size=100, sampler=WeightedRandomSampler(1 / share[y], len(y)))
    #% endif
    net = AlarmNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(6):
        for level, alarm in loader:
            optimizer.zero_grad()
            loss = criterion(net(level), alarm)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f} {report(net, x_test, y_test)}")


main()
