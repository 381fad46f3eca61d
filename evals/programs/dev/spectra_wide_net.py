"""Is there too much of a substance? Spectra of 80 channels and 60 samples."""

import torch
from torch import nn

torch.manual_seed(0)  #% seed
CHANNELS = 80
peak = torch.exp(-((torch.arange(CHANNELS) - 30.0) ** 2) / 40)
other = torch.exp(-((torch.arange(CHANNELS) - 37.0) ** 2) / 60)


def spectra(n):
    amount, disturbing = torch.randn(n, 1), torch.randn(n, 1)
    return amount * peak + disturbing * other + 0.8 * torch.randn(n, CHANNELS), (amount.squeeze(1) + 0.7 * torch.randn(n) > 0).long()


x, y = spectra(60)
x_valid, y_valid = spectra(400)
#% if fault
net = nn.Sequential(nn.Linear(CHANNELS, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2))
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)  #% here
#% else
net = nn.Sequential(nn.Dropout(0.3), nn.Linear(CHANNELS, 2))
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=2.0)
#% endif
for epoch in range(1, 41):
    net.train()
    for rows in torch.randperm(60).split(15):
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 4 == 0:
        net.eval()
        with torch.no_grad():
            train_loss = nn.functional.cross_entropy(net(x), y).item()
            valid_loss = nn.functional.cross_entropy(net(x_valid), y_valid).item()
        print(f"epoch {epoch} train {train_loss:.4f} valid {valid_loss:.4f} gap {valid_loss - train_loss:.4f}")
