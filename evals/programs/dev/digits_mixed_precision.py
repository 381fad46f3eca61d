"""Digits with mixed precision on the CPU: autocast, gradient scaler and clipping."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 96)
        self.fc2 = nn.Linear(96, 96)
        self.fc3 = nn.Linear(96, 10)

    def forward(self, x):
        x = nn.functional.gelu(self.fc1(x))
        x = nn.functional.gelu(self.fc2(x))
        return self.fc3(x)


def train_epoch(model, loader, optimizer, scaler, max_norm):
    model.train()
    total = norm_sum = 0.0
    for x, y in loader:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        #% if fault
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)  #% here
        #% else
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        #% endif
        scaler.step(optimizer)
        scaler.update()
        total += loss.item()
        norm_sum += min(norm.item(), max_norm)
    return total / len(loader), norm_sum / len(loader)


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    dataset = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    loader = DataLoader(dataset, batch_size=64, shuffle=True)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu")
    for epoch in range(8):
        loss, norm = train_epoch(model, loader, optimizer, scaler, max_norm=1.0)
        print(f"epoch {epoch} loss {loss:.4f} clipped norm {norm:.3f} scale {scaler.get_scale():.0f}")


if __name__ == "__main__":
    main()
