"""Mixed precision on CPU: float16 autocast with a gradient scaler that starts high and finds its scale."""
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn


def tensors(seed):
    x, y = load_breast_cancer(return_X_y=True)
    parts = train_test_split(StandardScaler().fit_transform(x), y, test_size=0.3, random_state=seed, stratify=y)
    xa, xb, ya, yb = (torch.tensor(p) for p in parts)
    return xa.float(), ya.float(), xb.float(), yb.float()


def main(seed=0):  #% seed
    torch.manual_seed(seed)
    xa, ya, xb, yb = tensors(seed)
    model = nn.Sequential(nn.Linear(30, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=40)
    criterion = nn.BCEWithLogitsLoss()
    for epoch in range(15):
        for idx in torch.randperm(len(xa)).split(32):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                logits = model(xa[idx]).squeeze(1)
                loss = criterion(logits.float(), ya[idx])
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            scaler.step(optimizer)
            scaler.update()
        with torch.no_grad():
            acc = ((model(xb).squeeze(1) > 0).float() == yb).float().mean().item()
        print(f"epoch {epoch} loss {loss.item():.4f} scale {scaler.get_scale():.0f} val accuracy {acc:.3f}")


main()
