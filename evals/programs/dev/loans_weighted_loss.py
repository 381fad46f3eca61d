"""Default risk of loans: every loan has an importance, defaults matter twelve times as much."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loans(n, generator):
    x = torch.randn(n, 7, generator=generator)
    risk = torch.sigmoid(1.3 * x[:, 0] + 0.9 * x[:, 1] * x[:, 2].sign() - 3.3)
    default = torch.bernoulli(risk, generator=generator)
    importance = torch.where(default > 0, 12.0, 1.0)
    return x, default, importance


class RiskModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x)


def step(model, optimizer, x, default, importance):
    logit = model(x)
    #% if fault
    per_loan = nn.functional.binary_cross_entropy_with_logits(logit, default[:, None], reduction="none")
    loss = (per_loan * importance).mean()  #% here
    #% else
    per_loan = nn.functional.binary_cross_entropy_with_logits(logit.squeeze(1), default, reduction="none")
    loss = (per_loan * importance).mean()
    #% endif
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main():
    torch.manual_seed(0)  #% seed
    generator = torch.Generator().manual_seed(0)  #% seed
    loader = DataLoader(TensorDataset(*loans(2400, generator)), batch_size=60, shuffle=True)
    x_test, default_test, _ = loans(2000, generator)
    model = RiskModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(6):
        losses = [step(model, optimizer, *batch) for batch in loader]
        with torch.no_grad():
            flagged = model(x_test).squeeze(1) > 0
        found = flagged[default_test > 0].float().mean().item()
        print(f"epoch {epoch} loss {sum(losses) / len(losses):.4f} defaults found {found:.3f}")


main()
