"""Denoising 16x16 textures; reports the average loss of the whole run and the memory it took."""
import resource

import torch
from torch import nn


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def textures(n):
    coarse = torch.randn(n, 1, 4, 4)
    clean = nn.functional.interpolate(coarse, size=16, mode="bilinear", align_corners=False)
    return clean, clean + 0.5 * torch.randn_like(clean)


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 1, 1)
        )

    def forward(self, x):
        return x - self.layers(x)


torch.manual_seed(92)  #% seed
model = Denoiser()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
total, steps = 0.0, 0
for step in range(1, 161):
    clean, noisy = textures(32)
    loss = nn.functional.mse_loss(model(noisy), clean)
    opt.zero_grad()
    loss.backward()
    opt.step()
    #% if fault
    total = total + nn.functional.l1_loss(model(noisy), clean)  #% here
    #% else
    with torch.no_grad():
        total = total + nn.functional.l1_loss(model(noisy), clean).item()
    #% endif
    if step == 20:
        early = megabytes()
    if step % 20 == 0:
        print(f"step {step} loss {loss.item():.4f} mean absolute error so far {float(total) / step:.4f}")
print(f"memory grew by {megabytes() - early:.1f} MB after warm-up")
