"""Q-learning on a short chain with a target network that is copied every 25 steps."""

import copy

import torch
from torch import nn

STATES, GAMMA = 8, 0.9


def act(state, action):
    """Action 1 moves right, 0 moves left; the right end pays 1 and sends back to the start."""
    new = (state + 2 * action - 1).clamp(min=0)
    done = new == STATES - 1
    return torch.where(done, torch.zeros_like(new), new), done.float()


class QNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(STATES, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, state):
        return self.net(nn.functional.one_hot(state, STATES).float())


def main(seed):
    torch.manual_seed(seed)
    online = QNet()
    target = copy.deepcopy(online)
    optimizer = torch.optim.Adam(online.parameters(), lr=5e-3)
    for step in range(1, 501):
        state = torch.randint(STATES - 1, (64,))
        action = torch.randint(2, (64,))
        following, reward = act(state, action)
        with torch.no_grad():
            wanted = reward + GAMMA * (1 - reward) * target(following).max(1).values
        value = online(state).gather(1, action[:, None]).squeeze(1)
        loss = nn.functional.smooth_l1_loss(value, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            target.load_state_dict(online.state_dict())
        if step % 50 == 0:
            with torch.no_grad():
                greedy = online(torch.arange(STATES - 1)).argmax(1)
            print(f"step {step} td loss {loss.item():.5f} moves right in {(greedy == 1).float().mean():.3f} of the states")


main(0)  #% seed
