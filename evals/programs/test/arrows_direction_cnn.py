"""Which way does the arrow point? Tiny synthetic pictures, four directions, augmentation on the fly."""
import torch
import torch.nn as nn


def arrow():
    a = torch.zeros(9, 9)
    a[4, 1:8] = 1
    a[3, 6] = a[5, 6] = a[2, 5] = a[6, 5] = 1
    return a


def pictures(n):
    way = torch.randint(4, (n,))
    base = arrow()
    pics = torch.stack([torch.rot90(base, int(k)) for k in way])
    return (pics + 0.25 * torch.randn(n, 9, 9)).unsqueeze(1), way


class Augment(nn.Module):
    def __init__(self, shift=1):
        super().__init__()
        self.shift = shift

    def forward(self, x):
        dx, dy = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
        x = torch.roll(x, (dy, dx), dims=(2, 3))
        #% if fault
        if torch.rand(()) < 0.5:
            x = x.flip(3)  #% here
        if torch.rand(()) < 0.5:
            x = x.flip(2)  #% here
        #% endif
        return x + 0.05 * torch.randn_like(x)


torch.manual_seed(50)  #% seed
x, way = pictures(1600)
x_val, way_val = pictures(400)
augment = Augment()
net = nn.Sequential(
    nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)
)
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for epoch in range(8):
    right = 0
    for idx in torch.randperm(1600).split(32):
        logits = net(augment(x[idx]))
        loss = nn.functional.cross_entropy(logits, way[idx])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right += (logits.argmax(1) == way[idx]).sum().item()
    with torch.no_grad():
        val = (net(x_val).argmax(1) == way_val).float().mean().item()
    print(f"epoch {epoch}: loss {loss.item():.3f} train {right / 1600:.3f} val {val:.3f}")
