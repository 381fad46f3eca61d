"""REINFORCE with a running baseline on a contextual bandit."""

import torch
from torch import nn
from torch.distributions import Categorical


class Policy(nn.Module):
    def __init__(self, contexts, arms):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(contexts, 32), nn.Tanh(), nn.Linear(32, arms))

    def forward(self, context):
        return Categorical(logits=self.net(context))


def main(seed):
    torch.manual_seed(seed)
    best_arm = torch.randint(4, (6,))
    policy = Policy(6, 4)
    optimizer = torch.optim.RMSprop(policy.parameters(), lr=4e-3)
    baseline, smooth = 0.0, 0.0
    for step in range(1, 501):
        context = torch.randint(6, (32,))
        dist = policy(nn.functional.one_hot(context, 6).float())
        arm = dist.sample()
        reward = (arm == best_arm[context]).float() + 0.5 * torch.randn(32)
        advantage = reward - baseline
        baseline = 0.95 * baseline + 0.05 * reward.mean().item()
        loss = -(dist.log_prob(arm) * advantage).mean() - 0.01 * dist.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        smooth = 0.95 * smooth + 0.05 * reward.mean().item()
        if step % 25 == 0:
            print(f"step {step} loss {loss.item():+.4f} reward {smooth:.3f}")


main(0)  #% seed
