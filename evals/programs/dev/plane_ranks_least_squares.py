"""Least squares on two processes with plain gradient descent at a rate chosen from the data's curvature."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


def synchronize(model):
    for p in model.parameters():
        dist.all_reduce(p.grad, op=dist.ReduceOp.SUM)  #% here
        #% if fault
        #% else
        p.grad.div_(dist.get_world_size())
        #% endif


def worker(rank, world, path, seed):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(512, 12, generator=generator) + 0.5
    y = x @ torch.randn(12, 1, generator=generator) + 0.1 * torch.randn(512, 1, generator=generator)
    curvature = torch.linalg.eigvalsh(2 * x.T @ x / len(x)).max().item()
    torch.manual_seed(seed)
    model = nn.Linear(12, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.3 / curvature)
    x_mine, y_mine = x[rank::world], y[rank::world]
    for step in range(1, 121):
        rows = torch.randperm(len(x_mine))[:128]
        loss = nn.functional.mse_loss(model(x_mine[rows]), y_mine[rows])
        optimizer.zero_grad()
        loss.backward()
        synchronize(model)
        optimizer.step()
        if rank == 0 and step % 10 == 0:
            print(f"step {step} loss {loss.item():.4g}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    arguments = (2, os.path.abspath("plane_store"))
    seed = 0  #% seed
    mp.start_processes(worker, (*arguments, seed), nprocs=2, start_method="fork")
