"""Which of two interleaved ribbons does a point belong to? A net from a list of layers, step decay."""
import torch
from sklearn.datasets import make_moons
from torch import nn
from torch.optim.lr_scheduler import StepLR


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x):
        #% if fault:a
        x = self.l2(self.l1(x))  #% here:a
        #% else
        x = torch.tanh(self.l2(torch.tanh(self.l1(x))))
        #% endif
        return self.l3(x).squeeze(1)


def data(n, seed):
    x, y = make_moons(n, noise=0.12, random_state=seed)
    x = torch.tensor(x, dtype=torch.float32)
    x[:, 1] *= 1.3
    return (x - torch.tensor([0.5, 0.3])) * 1.5, torch.tensor(y, dtype=torch.float32)


def main(seed):
    torch.manual_seed(seed)
    (x, y), (xv, yv) = data(1600, seed), data(500, seed + 50)
    net = Net()
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    sched = StepLR(opt, step_size=4, gamma=0.3)
    for epoch in range(12):
        for idx in torch.randperm(len(x)).split(64):
            loss = nn.functional.binary_cross_entropy_with_logits(net(x[idx]), y[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            #% if fault:b
            sched.step()  #% here:b
            #% endif
        #% if fault:b
        #% else
        sched.step()
        #% endif
        with torch.no_grad():
            acc = ((net(xv) > 0).float() == yv).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} lr {sched.get_last_lr()[0]:.2g} val accuracy {acc:.3f}")


main(110)  #% seed
