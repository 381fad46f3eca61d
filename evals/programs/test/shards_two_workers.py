"""Two processes train one digit classifier, each on its own shard of the folder; rank 0 evaluates."""
import os
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def shard(x, y, rank, world):
    """Shards follow the folder order, that is, the classes."""
    order = torch.argsort(y, stable=True)
    mine = order.chunk(world)[rank]
    return x[mine], y[mine]


def worker(rank, world, rendezvous, seed):
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world)
    torch.manual_seed(seed)
    d = load_digits()
    x, y = torch.tensor(d.data / 16, dtype=torch.float32), torch.tensor(d.target)
    perm = torch.randperm(len(y))
    x, y = x[perm], y[perm]
    xs, ys = shard(x[:1400], y[:1400], rank, world)
    net = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
    ddp = DistributedDataParallel(net)
    opt = torch.optim.SGD(ddp.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(seed + rank)
    for step in range(1, 121):
        rows = torch.randint(len(xs), (32,))
        opt.zero_grad()
        #% if fault
        loss = nn.functional.cross_entropy(ddp.module(xs[rows]), ys[rows])  #% here
        #% else
        loss = nn.functional.cross_entropy(ddp(xs[rows]), ys[rows])
        #% endif
        loss.backward()
        opt.step()
        if step % 20 == 0 and rank == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
    if rank == 0:
        with torch.no_grad():
            print(f"accuracy {(net(x[1400:]).argmax(1) == y[1400:]).float().mean().item():.3f}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    seed = 90  #% seed
    meeting = os.path.join(tempfile.mkdtemp(), "store")
    mp.start_processes(worker, args=(2, meeting, seed), nprocs=2, start_method="fork")
