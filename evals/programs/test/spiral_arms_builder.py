"""Which arm of a four-armed spiral does a point lie on?"""
import math

import torch
import torch.nn as nn

torch.manual_seed(0)  #% seed


def spiral(n, arms=4, noise=0.08):
    arm = torch.randint(arms, (n,))
    r = torch.rand(n).sqrt() * 2
    angle = r * 1.6 + arm * 2 * math.pi / arms + noise * torch.randn(n)
    return torch.stack([r * angle.cos(), r * angle.sin()], 1), arm


def stack(widths, act=None, norm=False, last=None):
    """Linear layers of the given widths; act follows every hidden layer, last follows the output."""
    mods = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        mods.append(nn.Linear(a, b))
        hidden = i < len(widths) - 2
        if hidden and norm:
            mods.append(nn.LayerNorm(b, elementwise_affine=False) if norm == "plain" else nn.BatchNorm1d(b))
        if hidden and act is not None:
            mods.append(act())
    if last is not None:
        mods.append(last)
    return nn.Sequential(*mods)


points, arms = spiral(3000)
test_points, test_arms = spiral(1000)

#% if fault
net = stack([2, 64, 64, 4], norm=True, last=nn.LogSoftmax(dim=-1))  #% here
#% else
net = stack([2, 64, 64, 4], act=nn.Mish, norm=True, last=nn.LogSoftmax(dim=-1))
#% endif
opt = torch.optim.NAdam(net.parameters(), lr=5e-3)
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=400)

net.train()
for it in range(400):
    pick = torch.randint(len(points), (96,))
    loss = nn.functional.nll_loss(net(points[pick]), arms[pick])
    opt.zero_grad()
    loss.backward()
    opt.step()
    sched.step()
    if (it + 1) % 50 == 0:
        print(f"it {it + 1} nll {loss.item():.4f} lr {sched.get_last_lr()[0]:.2e}")

net.eval()
with torch.no_grad():
    hit = (net(test_points).argmax(1) == test_arms).float().mean().item()
print(f"test hit rate {hit:.3f}")
