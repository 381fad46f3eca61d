"""Choose a dose per patient: a critic predicts the benefit of a dose, an actor proposes the best one."""

import torch
from torch import nn


def benefit(patient, dose):
    best = torch.tanh(patient[:, :1] - 0.5 * patient[:, 1:2])
    return 1 - (dose - best) ** 2


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1))

    def forward(self, patient, dose):
        return self.net(torch.cat([patient, dose], 1))


class Agent:
    def __init__(self):
        self.actor = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
        self.critic = Critic()
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=2e-3)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=4e-3)

    def update(self, patient):
        with torch.no_grad():
            tried = self.actor(patient) + 0.4 * torch.randn(len(patient), 1)
        seen = benefit(patient, tried) + 0.1 * torch.randn(len(patient), 1)

        self.actor_optimizer.zero_grad()
        self.critic_optimizer.zero_grad()
        actor_loss = -self.critic(patient, self.actor(patient)).mean()
        actor_loss.backward()
        #% if fault
        #% else
        self.critic_optimizer.zero_grad()
        #% endif
        critic_loss = nn.functional.mse_loss(self.critic(patient, tried), seen)
        critic_loss.backward()  #% here
        self.actor_optimizer.step()
        self.critic_optimizer.step()
        return actor_loss.item(), critic_loss.item()


def main():
    torch.manual_seed(0)  #% seed
    agent = Agent()
    check = torch.randn(400, 4)
    for step in range(1, 401):
        actor_loss, critic_loss = agent.update(torch.randn(64, 4))
        if step % 40 == 0:
            with torch.no_grad():
                dose = agent.actor(check)
                true, promised = benefit(check, dose).mean().item(), agent.critic(check, dose).mean().item()
            print(f"step {step} actor {actor_loss:+.3f} critic {critic_loss:.4f} benefit {true:.3f} promised {promised - true:+.3f} more")


main()
