"""Counting bright spots in tiny images with a convolutional regressor."""
import torch
from torch import nn

#% if fault
LR = 0.5  #% here
#% else
LR = 0.004
#% endif


def forest(n, size=12):
    count = torch.randint(1, 9, (n,))
    img = 0.1 * torch.randn(n, 1, size, size)
    for i, c in enumerate(count.tolist()):
        spots = torch.randperm(size * size)[:c]
        img[i, 0].view(-1)[spots] += 1.0
    return img, (count.float() - 4.5) / 2.3


torch.manual_seed(62)  #% seed
img, target = forest(1200)
img_t, target_t = forest(300)
net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(512, 1))
adam = torch.optim.Adam(net.parameters(), lr=LR)
for epoch in range(6):
    for rows in torch.randperm(1200).split(40):
        pred = net(img[rows]).squeeze(1)
        loss = nn.functional.mse_loss(pred, target[rows])
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        mae = (net(img_t).squeeze(1) - target_t).abs().mean().item() * 2.3
    print(f"epoch {epoch} mse {loss.item():.4f} mean counting error {mae:.3f}")
