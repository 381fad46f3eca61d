"""Disease progression from a table that also has a site column (all patients come from one site)."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

#% if fault:a
EPSILON = 0.0  #% here:a
#% else
EPSILON = 1e-8
#% endif


def table():
    x, y = load_diabetes(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)
    site = torch.full((len(x), 1), 3.0)
    y = torch.tensor(y, dtype=torch.float32)
    return torch.cat([x, site], 1), (y - y.mean()) / y.std()


class TableNet(nn.Module):
    def __init__(self, x):
        super().__init__()
        self.register_buffer("center", x.mean(0))
        self.register_buffer("spread", x.std(0))
        self.layers = nn.Sequential(nn.Linear(x.size(1), 24), nn.SiLU(), nn.Linear(24, 1))

    def forward(self, x):
        return self.layers((x - self.center) / (self.spread + EPSILON))  #% here:a


def main():
    torch.manual_seed(0)  #% seed
    x, y = table()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(11))
    train, test = order[:342], order[342:]
    model = TableNet(x[train])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for epoch in range(1, 26):
        total = 0.0
        for rows in train[torch.randperm(len(train))].split(38):
            #% if fault:b
            loss = (model(x[rows]) - y[rows]).pow(2).mean()  #% here:b
            #% else
            loss = (model(x[rows])[:, 0] - y[rows]).pow(2).mean()
            #% endif
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch % 5 == 0:
            with torch.no_grad():
                error = (model(x[test])[:, 0] - y[test]).pow(2).mean() / y[test].var(correction=0)
            print(f"epoch {epoch} train {total / 9:.4f} unexplained variance {error.item():.4f}")


main()
