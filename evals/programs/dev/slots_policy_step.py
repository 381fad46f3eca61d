"""Policy gradient for choosing among six suppliers, given what is known about the order."""

import torch
from torch import nn
from torch.distributions import Categorical


class Policy(nn.Module):
    def __init__(self, features, choices):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(features, 32), nn.Tanh(), nn.Linear(32, choices))

    def forward(self, order):
        return Categorical(logits=self.score(order))


class Market:
    """Each supplier is good at some orders; the profit of a choice is noisy."""

    def __init__(self, features, choices, generator):
        self.taste = torch.randn(features, choices, generator=generator)
        self.features = features

    def orders(self, n):
        return torch.randn(n, self.features)

    def profit(self, order, choice):
        value = torch.tanh(order @ self.taste)
        return value.gather(1, choice[:, None]).squeeze(1) + 0.2 * torch.randn(len(order))


def improve(policy, optimizer, market, baseline):
    order = market.orders(64)
    choice = (distribution := policy(order)).sample()
    profit = market.profit(order, choice)
    #% if fault
    loss = ((profit - baseline) * distribution.log_prob(choice)).mean()  #% here
    #% else
    loss = -((profit - baseline) * distribution.log_prob(choice)).mean()
    #% endif
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return profit.mean().item(), loss.item()


def main(seed):
    torch.manual_seed(seed)
    market = Market(8, 6, torch.Generator().manual_seed(seed))
    policy = Policy(8, 6)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    average = 0.0
    for step in range(1, 301):
        profit, loss = improve(policy, optimizer, market, average)
        average = 0.95 * average + 0.05 * profit
        if step % 30 == 0:
            print(f"step {step} loss {loss:+.4f} average profit {average:+.4f}")


main(seed=0)  #% seed
