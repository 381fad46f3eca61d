"""Cultivar of a wine with few training rows: keep the weights of the epoch with the best validation loss."""
import torch
import torch.nn as nn
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def load(seed):
    x, y = load_wine(return_X_y=True)
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=g).numpy()
    x, y = StandardScaler().fit_transform(x)[order], y[order]
    x = torch.tensor(x, dtype=torch.float32) + 1.2 * torch.randn(x.shape, generator=g)
    y = torch.tensor(y)
    return TensorDataset(x[:64], y[:64]), (x[64:], y[64:])


class Keeper:
    def __init__(self):
        self.best_loss = float("inf")
        self.weights = None

    def offer(self, loss, model):
        if loss < self.best_loss:
            self.best_loss = loss
            #% if fault
            self.weights = model.state_dict()  #% here
            #% else
            self.weights = {k: v.clone() for k, v in model.state_dict().items()}
            #% endif
            return True
        return False


def val_loss(model, x, y):
    model.eval()
    with torch.no_grad():
        return nn.functional.cross_entropy(model(x), y).item()


def train(seed):
    torch.manual_seed(seed)
    train_set, (xv, yv) = load(seed)
    model = nn.Sequential(nn.Linear(13, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3))
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    keeper = Keeper()
    for epoch in range(80):
        model.train()
        for x, y in DataLoader(train_set, batch_size=16, shuffle=True):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
        v = val_loss(model, xv, yv)
        if keeper.offer(v, model):
            print(f"epoch {epoch:3d} new best val loss {v:.4f}")
        elif epoch % 20 == 19:
            print(f"epoch {epoch:3d} train loss {loss.item():.4f} val loss {v:.4f}")
    model.load_state_dict(keeper.weights)
    restored = val_loss(model, xv, yv)
    print(f"best during training {keeper.best_loss:.4f}, kept model {restored:.4f}")
    print(f"kept over best {restored / keeper.best_loss:.3f}")


train(seed=19)  #% seed
