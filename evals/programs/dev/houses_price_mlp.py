import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def houses(n, rng):
    """Area, rooms, age and distance to the centre, all standardised, and the price in euros."""
    features = rng.normal(size=(n, 4))
    area, rooms, age, distance = features.T
    price = 310_000 + 90_000 * area + 20_000 * rooms - 25_000 * age - 60_000 * np.tanh(distance) + 30_000 * area * rooms
    return features.astype("float32"), (price + rng.normal(scale=12_000, size=n)).astype("float32")


parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)  #% seed
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--lr", type=float, default=3e-3)
args = parser.parse_args()

torch.manual_seed(args.seed)
rng = np.random.default_rng(args.seed)
x_train, y_train = houses(800, rng)
x_test, y_test = houses(300, rng)
#% if fault
train = TensorDataset(torch.from_numpy(x_train), torch.from_numpy(y_train))  #% here
#% else
center, spread = float(y_train.mean()), float(y_train.std())
train = TensorDataset(torch.from_numpy(x_train), torch.from_numpy((y_train - center) / spread))
#% endif
loader = DataLoader(train, batch_size=40, shuffle=True)

model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
criterion = nn.MSELoss()
for epoch in range(args.epochs):
    running = 0.0
    for features, price in loader:
        optimizer.zero_grad()
        loss = criterion(model(features).squeeze(1), price)
        loss.backward()
        optimizer.step()
        running += loss.item()
    model.eval()
    with torch.no_grad():
        predicted = model(torch.from_numpy(x_test)).squeeze(1).numpy()
    model.train()
    #% if fault
    #% else
    predicted = predicted * spread + center
    #% endif
    r2 = 1 - np.mean((predicted - y_test) ** 2) / np.var(y_test)
    print(f"epoch {epoch + 1} loss {running / len(loader):.5g} r2 on new houses {r2:.3f}")
