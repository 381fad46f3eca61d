"""Air quality of many stations, trained by two ranks that split the station list between them."""
import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn

STATIONS = 24


def records(seed):
    g = torch.Generator().manual_seed(seed)
    station = torch.arange(STATIONS).repeat_interleave(60)
    weather = torch.randn(len(station), 4, generator=g)
    level = torch.randn(STATIONS, generator=g) * 1.5
    response = torch.randn(STATIONS, 4, generator=g) * 0.5
    air = level[station] + (response[station] * weather).sum(1) + 0.1 * torch.randn(len(station), generator=g)
    return station, weather, air


class Air(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Embedding(STATIONS, 8)
        self.net = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, station, weather):
        return self.net(torch.cat([self.place(station), weather], 1)).squeeze(1)


def run(rank, world, where, seed):
    os.environ["RANK"] = str(rank)
    dist.init_process_group("gloo", init_method="file://" + where, rank=rank, world_size=world)
    torch.manual_seed(seed)
    station, weather, air = records(seed)
    held = torch.rand(len(air)) < 0.2
    #% if fault
    mine = station % world == int(os.environ.get("LOCAL_RANK", 0))  #% here
    #% else
    mine = station % world == int(os.environ["RANK"])
    #% endif
    rows = (mine & ~held).nonzero().squeeze(1)
    model = nn.parallel.DistributedDataParallel(Air())
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(14):
        for _ in range(12):
            idx = rows[torch.randint(len(rows), (48,))]
            loss = F.mse_loss(model(station[idx], weather[idx]), air[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        if rank == 0 and epoch % 2:
            with torch.no_grad():
                err = F.mse_loss(model.module(station[held], weather[held]), air[held]).item()
            print(f"epoch {epoch + 1} train {loss.item():.4f} held out {err:.4f}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    path = os.path.join(tempfile.mkdtemp(), "ranks")
    seed = 91  #% seed
    mp.start_processes(run, args=(2, path, seed), nprocs=2, start_method="fork")
