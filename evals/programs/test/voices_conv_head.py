"""Speaker identification on synthetic spectrogram patches."""
import torch
from torch import nn


class SpeakerNet(nn.Module):
    def __init__(self, bands, frames, speakers):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 6, (3, 5), stride=(1, 2)), nn.ReLU(), nn.Conv2d(6, 12, 3, stride=2), nn.ReLU()
        )
        #% if fault
        self.head = nn.Linear(12 * (bands // 2 - 1) * (frames // 4 - 1), speakers)  #% here
        #% else
        self.head = nn.Linear(12 * ((bands - 5) // 2 + 1) * (((frames - 5) // 2 - 2) // 2 + 1), speakers)
        #% endif

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


torch.manual_seed(103)  #% seed
voices = torch.randn(5, 1, 14, 1)
net = SpeakerNet(14, 24, 5)
opt = torch.optim.Adam(net.parameters(), lr=3e-3)
for step in range(1, 121):
    who = torch.randint(5, (32,))
    patch = voices[who] * torch.rand(32, 1, 1, 24) + 0.5 * torch.randn(32, 1, 14, 24)
    loss = nn.functional.cross_entropy(net(patch), who)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 30 == 0:
        print(f"step {step} loss {loss.item():.4f}")
