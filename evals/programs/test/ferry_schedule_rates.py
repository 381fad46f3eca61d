"""Ferry passengers by hour: Poisson regression with a net; the learning rate decays exponentially."""
import math

import torch
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(70)  #% seed


def passengers(n):
    hour, weekday, rain = torch.rand(n) * 24, torch.randint(7, (n,)), torch.rand(n)
    rate = torch.exp(1.5 + 1.2 * torch.sin(2 * math.pi * (hour - 8) / 24) + 0.5 * (weekday >= 5) - 0.8 * rain)
    x = torch.stack(
        [torch.sin(hour * math.pi / 12), torch.cos(hour * math.pi / 12), (weekday >= 5).float(), rain * 2 - 1], 1
    )
    return x, torch.poisson(rate), rate


class Trainer:
    def __init__(self, net, opt, sched):
        self.net, self.opt, self.sched = net, opt, sched
        self.loss = nn.PoissonNLLLoss(log_input=True)

    def train_epoch(self, loader):
        for x, n in loader:
            self.opt.zero_grad()
            loss = self.loss(self.net(x).squeeze(1), n)
            loss.backward()
            self.opt.step()
            #% if fault
            self.sched.step()  #% here
            #% endif
        #% if fault
        #% else
        self.sched.step()
        #% endif
        return loss.item()

    @torch.no_grad()
    def relative_error(self, x, rate):
        return ((self.net(x).squeeze(1).exp() - rate).abs() / rate).mean().item()


x, n, rate = passengers(2000)
net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters(), lr=5e-3)
trainer = Trainer(net, opt, ExponentialLR(opt, gamma=0.85))
loader = DataLoader(TensorDataset(x[:1600], n[:1600]), batch_size=40, shuffle=True)
for epoch in range(12):
    loss = trainer.train_epoch(loader)
    print(f"epoch {epoch:2d} nll {loss:8.4f} relative error {trainer.relative_error(x[1600:], rate[1600:]):.4f}")
