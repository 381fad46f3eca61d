"""Screening for a rare condition: three percent positives, weighted loss, recall and precision reported."""
import torch
from torch import nn

torch.manual_seed(136)  #% seed


def people(n):
    x = torch.randn(n, 12)
    risk = 1.6 * x[:, 0] + 1.2 * x[:, 1] * (x[:, 2] > 0) - 1.0 * x[:, 3]
    return x, (risk + 0.3 * torch.randn(n) > 3.6).float()


x, sick = people(5000)
xt, st = people(4000)
print(f"share of positives {sick.mean().item():.3f}")
net = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 1))
loss_fn = nn.BCEWithLogitsLoss(pos_weight=(1 - sick.mean()) / sick.mean())
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(5):
    for idx in torch.randperm(5000).split(100):
        loss = loss_fn(net(x[idx]).squeeze(1), sick[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        flag = net(xt).squeeze(1) > 0
    recall = flag[st == 1].float().mean().item()
    precision = st[flag].mean().item()
    print(f"epoch {epoch} loss {loss.item():.4f} recall {recall:.3f} precision {precision:.3f}")
