"""Two-stage training: a denoising stage, then classification with a fresh head; validation one sample at a time."""
from collections import OrderedDict
from copy import deepcopy

import torch
from sklearn.datasets import load_breast_cancer
from torch import nn


class Model(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(d, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Dropout(0.6), nn.Linear(40, 20))
        self.top = nn.Linear(20, d)

    def forward(self, x):
        return self.top(torch.relu(self.body(x)))


def steps(model, opt, x, target, loss_fn, n, noise):
    for step in range(1, n + 1):
        i = torch.randint(len(x), (32,))
        loss = loss_fn(model(x[i] + noise * torch.randn_like(x[i])), target[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 40 == 0:
            print(f"  step {step} loss {loss.item():.4f}")


torch.manual_seed(113)  #% seed
raw, label = load_breast_cancer(return_X_y=True)
x = torch.tensor((raw - raw.mean(0)) / raw.std(0), dtype=torch.float32)
label = torch.tensor(label)
group = label * 3 + torch.bucketize(x[:, 1], torch.tensor([-0.5, 0.5]))
perm = torch.randperm(len(x))
tr, te = perm[:420], perm[420:]
model = Model(30)
print("stage 1: denoise")
opt = torch.optim.Adam(model.parameters(), lr=3e-3)  #% here:a
steps(model, opt, x[tr], x[tr], nn.MSELoss(), 80, 0.3)
print("stage 2: classify")
denoiser = model
model = nn.Sequential(OrderedDict(body=deepcopy(denoiser.body), act=nn.ReLU(), top=nn.Linear(20, 6)))  #% here:a
#% if fault:a
#% else
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
#% endif
steps(model, opt, x[tr], group[tr], nn.CrossEntropyLoss(), 200, 0.1)
#% if fault:b
with torch.no_grad():
    votes = torch.cat([model(s[None].repeat(2, 1))[:1] for s in x[te]])  #% here:b
#% else
model.eval()
with torch.no_grad():
    votes = torch.cat([model(s[None].repeat(2, 1))[:1] for s in x[te]])
#% endif
print(f"accuracy {(votes.argmax(1) == group[te]).float().mean().item():.3f}")
