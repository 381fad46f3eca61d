"""Two processes, each with half of the classes; after two epochs the head is replaced by a wider one."""

import os
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        return self.head(self.body(x))


def wider_head():
    return nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 10))


def worker(rank, world, store, seed):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    torch.manual_seed(seed)
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(y))
    train, test = order[:1400], order[1400:]
    mine = train[(y[train] < 5) == (rank == 0)][:640]
    model = DDP(Net(), find_unused_parameters=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(7):
        if epoch == 2:
            #% if fault
            model.module.head = wider_head()  #% here
            #% else
            net = model.module
            net.head = wider_head()
            model = DDP(net, find_unused_parameters=True)
            #% endif
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for rows in mine[torch.randperm(640)].split(32):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            print(f"epoch {epoch} loss {loss.item():.4f}", flush=True)
    if rank == 0:
        with torch.no_grad():
            accuracy = (model.module(x[test]).argmax(1) == y[test]).float().mean().item()
        print(f"test accuracy {accuracy:.3f}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    method = "fork" if sys.platform == "linux" else "spawn"
    seed = 0  #% seed
    mp.start_processes(worker, (2, os.path.abspath("meeting_point"), seed), nprocs=2, start_method=method)
