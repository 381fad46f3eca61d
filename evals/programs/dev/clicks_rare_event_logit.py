"""Click model for a thin stream of positives, trained in one short pass."""

import torch
from torch import nn


def impressions(n, generator):
    x = torch.randn(n, 10, generator=generator)
    logit = 1.2 * x[:, 0] - 0.8 * x[:, 1] + 0.6 * x[:, 2] * x[:, 3] - 5.0
    return x, torch.bernoulli(torch.sigmoid(logit), generator=generator)


class ClickModel(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.hidden = nn.Linear(10, 32)
        self.logit = nn.Linear(32, 1)
        #% if fault
        nn.init.zeros_(self.logit.bias)  #% here
        #% else
        nn.init.constant_(self.logit.bias, float(torch.logit(rate)))
        #% endif

    def forward(self, x):
        return self.logit(torch.relu(self.hidden(x))).squeeze(1)


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    x, y = impressions(9600, generator)
    x_test, y_test = impressions(6000, generator)
    rate = y.mean()
    baseline = nn.functional.binary_cross_entropy(rate.expand(6000), y_test).item()
    model = ClickModel(rate)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step, rows in enumerate(torch.randperm(9600, generator=generator).split(96), start=1):
        loss = nn.functional.binary_cross_entropy_with_logits(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                test = nn.functional.binary_cross_entropy_with_logits(model(x_test), y_test).item()
            print(f"step {step} loss {loss.item():.4f} test {test:.4f} relative to the base rate {test / baseline:.3f}")


main()
