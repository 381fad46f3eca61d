"""Tomorrow's change from five indicators; most of it is noise, little can be explained."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(124)  #% seed
w = torch.tensor([0.6, -0.4, 0.3, 0.2, -0.1])
x = torch.randn(4000, 5)
change = x @ w + 1.0 * torch.randn(4000)
best = (w**2).sum() / ((w**2).sum() + 1.0)
model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
loader = DataLoader(TensorDataset(x[:3000], change[:3000]), batch_size=100, shuffle=True)
for epoch in range(10):
    running = 0.0
    for a, b in loader:
        loss = nn.functional.mse_loss(model(a).squeeze(1), b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item() / len(loader)
    print(f"epoch {epoch} mse {running:.4f}")
with torch.no_grad():
    r2 = 1 - (model(x[3000:]).squeeze(1) - change[3000:]).square().mean() / change[3000:].var()
print(f"r2 {r2.item():.3f}, possible {best.item():.3f}, share reached {r2.item() / best.item():.3f}")
