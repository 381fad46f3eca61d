import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 3)
        self.fc = nn.Linear(10 * 3 * 3, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc(x.flatten(1))


def main():
    torch.manual_seed(0)  #% seed
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    target = torch.tensor(digits.target)
    net = Net()
    # losses are summed over the batch, so the rate is per sample
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1 / 64, momentum=0.9)
    for epoch in range(10):
        total = 0.0
        for rows in torch.randperm(1400).split(64):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images[rows]), target[rows], reduction="sum")
            loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            logits = net(images[1400:])
            test_loss = F.cross_entropy(logits, target[1400:], reduction="sum").item()
            accuracy = (logits.argmax(1) == target[1400:]).float().mean().item()
        print(f"epoch {epoch} summed loss {total:.2f} test {test_loss:.2f} accuracy {accuracy:.4f}")


main()
