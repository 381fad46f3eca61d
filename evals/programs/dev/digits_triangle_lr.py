import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)  #% seed
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16.0, dtype=torch.float32), torch.tensor(y)
order = torch.randperm(len(x))
train = TensorDataset(x[order[:1408]], y[order[:1408]])
x_valid, y_valid = x[order[1408:]], y[order[1408:]]
loader = DataLoader(train, batch_size=64, shuffle=True)

model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
# three triangles of five epochs each
scheduler = optim.lr_scheduler.CyclicLR(
    optimizer, base_lr=0.005, max_lr=0.45, step_size_up=55, step_size_down=55, cycle_momentum=False
)
for epoch in range(15):
    losses = []
    for xb, yb in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(xb), yb)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    with torch.no_grad():
        accuracy = (model(x_valid).argmax(1) == y_valid).float().mean().item()
    print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.3f} loss {sum(losses) / len(losses):.4f} max {max(losses):.3f} acc {accuracy:.3f}")
