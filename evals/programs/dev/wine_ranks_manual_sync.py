"""Data parallel training by hand on two processes: gradients are averaged after backward."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_wine
from torch import nn

SEED = 0  #% seed


def average_gradients(model, world):
    for parameter in model.parameters():
        #% if fault
        if parameter.dim() > 1:  #% here
            dist.all_reduce(parameter.grad)
            parameter.grad /= world
        #% else
        dist.all_reduce(parameter.grad)
        parameter.grad /= world
        #% endif


def run(rank, world, path):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    torch.manual_seed(SEED)
    x, y = load_wine(return_X_y=True)
    x, y = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(y))
    mine, test = order[:140][rank::world], order[140:]
    model = nn.Sequential(nn.Linear(13, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(16):
        for rows in mine[torch.randperm(len(mine))].split(10):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            average_gradients(model, world)
            optimizer.step()
        flat = nn.utils.parameters_to_vector(model.parameters()).detach()
        copies = [torch.empty_like(flat) for _ in range(world)]
        dist.all_gather(copies, flat)
        if rank == 0 and epoch % 3 == 0:
            with torch.no_grad():
                accuracy = (model(x[test]).argmax(1) == y[test]).float().mean().item()
            apart = (copies[0] - copies[1]).abs().max().item()
            print(f"epoch {epoch} loss {loss.item():.4f} test {accuracy:.3f} ranks apart {apart:.2e}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.start_processes(run, (2, os.path.abspath("wine_store")), nprocs=2, start_method="fork")
