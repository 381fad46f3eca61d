"""Mixture of small experts chosen by region: growth of plants in different greenhouses."""
import torch
from torch import nn
from torch.nn import functional as F


def greenhouse_data(n, rooms=6):
    room = torch.randint(rooms, (n,))
    light_water_heat = torch.rand(n, 3) * 2 - 1
    slope = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 1, 0], [0, -1, 1], [1, 0, -1]]).float()
    growth = (slope[room] * light_water_heat).sum(1) * 2 + torch.sin(3 * light_water_heat[:, 0]) * (room % 2)
    return room, light_water_heat, growth + 0.05 * torch.randn(n)


class Experts(nn.Module):
    def __init__(self, rooms, hidden=16):
        super().__init__()
        self.shared = nn.Linear(3, hidden)
        make = lambda: nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        #% if fault
        self.experts = {room: make() for room in range(rooms)}  #% here
        #% else
        self.experts = nn.ModuleList([make() for _ in range(rooms)])
        #% endif
        self.read = nn.Linear(hidden, 1)

    def forward(self, room, x):
        h = F.relu(self.shared(x))
        out = torch.zeros_like(h)
        for r in room.unique().tolist():
            mine = room == r
            out[mine] = self.experts[r](h[mine])
        return self.read(out).squeeze(1)


if __name__ == "__main__":
    torch.manual_seed(60)  #% seed
    room, x, growth = greenhouse_data(2000)
    model = Experts(6)
    print("parameters:", sum(p.numel() for p in model.parameters()))
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(300):
        i = torch.randint(1600, (80,))
        loss = F.mse_loss(model(room[i], x[i]), growth[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 50 == 49:
            print(f"step {step + 1} mse {loss.item():.4f}")
    with torch.no_grad():
        print(f"test mse {F.mse_loss(model(room[1600:], x[1600:]), growth[1600:]).item():.4f}")
