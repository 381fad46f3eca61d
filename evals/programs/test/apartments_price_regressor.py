"""Apartment prices from size, floor, age and distance, in a scikit-like class."""
import numpy as np
import torch


class PriceRegressor(torch.nn.Module):
    def __init__(self, n_features, hidden=(32, 32)):
        super().__init__()
        sizes = [n_features, *hidden]
        self.hidden = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.price = torch.nn.Linear(sizes[-1], 1)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, x):
        for layer in self.hidden:
            x = torch.nn.functional.relu(layer(x))
        return self.price(x).squeeze(-1)

    def fit(self, x, y, epochs=25, lr=3e-3, batch_size=64):
        x, y = torch.as_tensor(x), torch.as_tensor(y)
        #% if fault
        #% else
        self.centre, self.spread = y.mean(), y.std()
        #% endif
        target = (y - self.centre) / self.spread
        optimizer = torch.optim.Adam(self.parameters(), lr=lr)
        for epoch in range(epochs):
            total = 0.0
            for rows in torch.randperm(len(x)).split(batch_size):
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(self(x[rows]), target[rows])  #% here
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            if epoch % 5 == 4:
                print(f"epoch {epoch + 1:3d} mse {total / len(x):.5g}")
        return self

    @torch.no_grad()
    def predict(self, x):
        return (self(torch.as_tensor(x)) * self.spread + self.centre).numpy()


def apartments(rng, n):
    size, floor, age, km = rng.uniform(25, 140, n), rng.integers(0, 9, n), rng.uniform(0, 80, n), rng.exponential(5, n)
    price = 4200 * size * np.exp(-0.06 * km) + 3000 * floor - 600 * age + rng.normal(0, 9000, n)
    x = np.stack([(size - 80) / 33, (floor - 4) / 2.6, (age - 40) / 23, (km - 5) / 5], axis=1)
    return x.astype("float32"), price.astype("float32")


rng = np.random.default_rng(44)  #% seed
torch.manual_seed(44)  #% seed
x, price = apartments(rng, 1500)
model = PriceRegressor(4).fit(x[:1200], price[:1200])
error = model.predict(x[1200:]) - price[1200:]
print(f"r2 on new apartments: {1 - (error**2).mean() / price[1200:].var():.3f}")
