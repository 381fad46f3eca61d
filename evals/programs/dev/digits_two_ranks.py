"""Data-parallel digits on two processes; each rank holds its own half of the classes."""

import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

SEED = 0  #% seed


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.classify = nn.Linear(64, 10)

    def forward(self, x):
        return self.classify(self.features(x))


def worker(rank, world, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.manual_seed(SEED)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))
    train, test = order[:1400], order[1400:]
    mine = train[(y[train] % world) == rank]

    model = Net()
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.2, momentum=0.9)
    steps = torch.tensor(len(mine) // 32)
    dist.all_reduce(steps, op=dist.ReduceOp.MIN)
    for epoch in range(6):
        picked = mine[torch.randperm(len(mine))]
        for k in range(int(steps)):
            rows = picked[32 * k : 32 * k + 32]
            #% if fault
            loss = nn.functional.cross_entropy(ddp.module(x[rows]), y[rows])  #% here
            #% else
            loss = nn.functional.cross_entropy(ddp(x[rows]), y[rows])
            #% endif
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            print(f"epoch {epoch} loss on rank 0 {loss.item():.4f}", flush=True)
    dist.barrier()
    if rank == 0:
        with torch.no_grad():
            accuracy = (model(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"test accuracy {accuracy:.3f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    method = "fork" if sys.platform == "linux" else "spawn"
    mp.start_processes(worker, (2, os.path.abspath("rendezvous")), nprocs=2, start_method=method)
