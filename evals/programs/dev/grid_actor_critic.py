"""Actor-critic on a five by five grid: walk from a random field to the corner, each step costs a little."""

import torch
from torch import nn
from torch.distributions import Categorical

SIDE, LIMIT, GAMMA = 5, 16, 0.97
MOVES = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2 * SIDE, 48), nn.Tanh())
        self.policy, self.value = nn.Linear(48, 4), nn.Linear(48, 1)

    def forward(self, field):
        seen = torch.cat([nn.functional.one_hot(field[:, k], SIDE) for k in (0, 1)], 1).float()
        h = self.body(seen)
        return Categorical(logits=self.policy(h)), self.value(h).squeeze(1)


def episodes(model, n):
    """Log-probabilities, values, rewards and whether the walk was still on, each (steps, n), and the entropy."""
    field = torch.randint(SIDE, (n, 2))
    on = torch.ones(n)
    log_probs, values, rewards, alive, entropies = [], [], [], [], []
    for _ in range(LIMIT):
        policy, value = model(field)
        action = policy.sample()
        field = torch.where(on[:, None] > 0, (field + MOVES[action]).clamp(0, SIDE - 1), field)
        home = (field == SIDE - 1).all(1).float()
        log_probs.append(policy.log_prob(action))
        values.append(value)
        rewards.append(on * (home - 0.04))
        alive.append(on)
        entropies.append((policy.entropy() * on).mean())
        on = on * (1 - home)
    return *(torch.stack(t) for t in (log_probs, values, rewards, alive, entropies)), 1 - on.mean()


def main():
    torch.manual_seed(0)  #% seed
    model = ActorCritic()
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    average = 0.0
    for update in range(1, 141):
        log_probs, values, rewards, alive, entropy, arrived = episodes(model, 32)
        returns, running = torch.zeros_like(rewards), torch.zeros(32)
        for t in reversed(range(LIMIT)):
            running = rewards[t] + GAMMA * running
            returns[t] = running
        advantage = (returns - values).detach()
        actor = -(log_probs * advantage * alive).sum(0).mean()
        critic = ((returns - values) ** 2 * alive).sum(0).mean()
        loss = actor + 0.5 * critic - 0.01 * entropy.mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average = 0.9 * average + 0.1 * rewards.sum(0).mean().item()
        if update % 20 == 0:
            print(f"update {update} loss {loss.item():+.4f} return {average:+.3f} arrived {arrived:.3f}")
    print(f"final return {average:.3f}")


main()
