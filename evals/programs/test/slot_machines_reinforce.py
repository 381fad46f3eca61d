"""Contextual slot machines with REINFORCE and a running baseline."""
import torch
from torch import nn
from torch.distributions import Categorical


class Casino:
    def __init__(self, contexts=6, arms=5):
        self.pay = torch.rand(contexts, arms)
        self.contexts = contexts

    def visit(self, n):
        self.now = torch.randint(self.contexts, (n,))
        return nn.functional.one_hot(self.now, self.contexts).float()

    def pull(self, arm):
        return torch.bernoulli(self.pay[self.now, arm])

    def regret(self, policy):
        with torch.no_grad():
            p = policy(torch.eye(self.contexts)).softmax(-1)
        best, worst = self.pay.max(1).values, self.pay.min(1).values
        return ((best - (p * self.pay).sum(1)) / (best - worst)).mean().item()


torch.manual_seed(9)  #% seed
casino = Casino()
policy = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 5))
optimizer = torch.optim.Adam(policy.parameters(), lr=0.02)
baseline = 0.0
print(f"regret before training {casino.regret(policy):.3f}")
for update in range(1, 301):
    dist = Categorical(logits=policy(casino.visit(64)))
    arm = dist.sample()
    reward = casino.pull(arm)
    advantage = reward - baseline
    baseline = 0.95 * baseline + 0.05 * reward.mean().item()
    #% if fault
    loss = (dist.log_prob(arm) * advantage).mean()  #% here
    #% else
    loss = -(dist.log_prob(arm) * advantage).mean()
    #% endif
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if update % 50 == 0:
        print(f"update {update}: reward {reward.mean().item():.3f}, loss {loss.item():.4f}")
print(f"regret after training {casino.regret(policy):.3f}")
