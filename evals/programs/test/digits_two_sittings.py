"""A run in two sittings: train, save everything, load everything, go on."""
import io

import torch
from sklearn.datasets import load_digits
from torch import nn


def fresh():
    net = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    return net, opt, torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=240)


def sitting(net, opt, sched, x, y, first, last):
    for step in range(first, last):
        i = torch.randint(1400, (40,))
        loss = nn.functional.cross_entropy(net(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        if step % 30 == 29:
            print(f"step {step + 1} loss {loss.item():.4f} lr {sched.get_last_lr()[0]:.5f}")


torch.manual_seed(127)  #% seed
d = load_digits()
order = torch.randperm(1797)
x, y = torch.tensor(d.data, dtype=torch.float32)[order] / 16, torch.tensor(d.target)[order]
net, opt, sched = fresh()
sitting(net, opt, sched, x, y, 0, 120)
disk = io.BytesIO()
torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "sched": sched.state_dict()}, disk)

disk.seek(0)
saved = torch.load(disk, weights_only=True)
net, opt, sched = fresh()
net.load_state_dict(saved["net"])
opt.load_state_dict(saved["opt"])
sched.load_state_dict(saved["sched"])
sitting(net, opt, sched, x, y, 120, 240)
with torch.no_grad():
    print(f"accuracy {(net(x[1400:]).argmax(1) == y[1400:]).float().mean().item():.3f}")
