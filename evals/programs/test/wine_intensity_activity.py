"""Wine colour intensity from chemistry; activations of the hidden layers are watched while training."""
import torch
from sklearn.datasets import load_wine
from torch import nn

torch.manual_seed(93)  #% seed
wine = load_wine()
x = torch.tensor((wine.data - wine.data.mean(0)) / wine.data.std(0), dtype=torch.float32)
inputs, target = torch.cat([x[:, :9], x[:, 10:]], 1), x[:, 9]
net = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 1))
opt = torch.optim.Adam(net.parameters(), lr=4e-3)
seen = []


def remember(module, args, output):
    seen.append((output > 0).float().mean().item())


def watch(net):
    return [m.register_forward_hook(remember) for m in net if isinstance(m, nn.ReLU)]


for epoch in range(30):
    handles = watch(net)  #% here
    seen.clear()
    for idx in torch.randperm(178).split(30):
        loss = nn.functional.mse_loss(net(inputs[idx]).squeeze(1), target[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    #% if fault
    #% else
    for h in handles:
        h.remove()
    #% endif
    if epoch % 5 == 4:
        active = sum(seen) / len(seen)
        print(f"epoch {epoch + 1} loss {loss.item():.4f} active units {active:.2f} over {len(seen)} readings")
