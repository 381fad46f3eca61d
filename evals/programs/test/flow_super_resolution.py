"""Flow field super-resolution with residual blocks that were trimmed for memory."""
import torch
from torch import nn


class LeanBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x):
        g = torch.sigmoid(self.conv(x))
        out = x * g * self.gain
        #% if fault
        g += 0.1 * x  #% here
        return out + g
        #% else
        return out + g + 0.1 * x
        #% endif


class Upscaler(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.first = nn.Conv2d(2, c, 3, padding=1)
        self.blocks = nn.Sequential(LeanBlock(c), LeanBlock(c))
        self.last = nn.Conv2d(c, 8, 1)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.last(self.blocks(self.first(x))), 2)


torch.manual_seed(106)  #% seed
net = Upscaler()
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for it in range(1, 91):
    fine = nn.functional.interpolate(torch.randn(16, 2, 4, 4), size=16, mode="bicubic", align_corners=False)
    coarse = nn.functional.avg_pool2d(fine, 2)
    loss = nn.functional.mse_loss(net(coarse), fine)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if it % 30 == 0:
        print(f"it {it} mse {loss.item():.5f}")
