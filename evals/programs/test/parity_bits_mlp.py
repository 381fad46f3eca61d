"""Learning the parity of 3 out of 12 bits from examples: nothing happens for a while, then it clicks."""
import torch
from torch import nn

torch.manual_seed(5)  #% seed
bits = torch.randint(0, 2, (3000, 12)).float()
target = (bits[:, :3].sum(1) % 2).long()
signal = bits * 2 - 1

net = nn.Sequential(nn.Linear(12, 128), nn.ReLU(), nn.Linear(128, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
test_bits = torch.randint(0, 2, (1000, 12)).float()
test_target = (test_bits[:, :3].sum(1) % 2).long()

for step in range(600):
    rows = torch.randint(3000, (64,))
    loss = nn.functional.cross_entropy(net(signal[rows]), target[rows])
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 50 == 49:
        with torch.no_grad():
            acc = (net(test_bits * 2 - 1).argmax(1) == test_target).float().mean().item()
        print(f"step {step + 1:4d} loss {loss.item():.4f} test accuracy {acc:.3f}")
