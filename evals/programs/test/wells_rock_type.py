"""Rock type from well logs (three types), minibatches, cross-entropy."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(72)  #% seed
depth = torch.rand(2100)
rock = torch.randint(3, (2100,))
gamma = rock.float() * 1.3 + 0.6 * torch.randn(2100)
density = torch.where(rock == 1, 1.0, -0.5) * (1 + depth) + 0.5 * torch.randn(2100)
porosity = -density * depth + 0.3 * torch.randn(2100)
logs = torch.stack([gamma - 1.3, density, porosity, depth * 2 - 1], 1)

train = DataLoader(TensorDataset(logs[:1700], rock[:1700]), batch_size=20, shuffle=True)
net = nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
opt = torch.optim.SGD(net.parameters(), lr=0.05)

for epoch in range(6):
    total = 0.0
    for x, y in train:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        total += loss.item()
        #% if fault
    opt.step()  #% here
        #% else
        opt.step()
        #% endif
    with torch.no_grad():
        acc = (net(logs[1700:]).argmax(1) == rock[1700:]).float().mean().item()
    print(f"epoch {epoch}: mean loss {total / len(train):.4f}, accuracy {acc:.3f}")
