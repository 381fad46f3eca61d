"""Diabetes regression on two processes with DistributedDataParallel."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def loaders(seed, rank, world):
    x, y = load_diabetes(return_X_y=True)
    x = torch.tensor(x / x.std(0), dtype=torch.float32)
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
    number = torch.arange(len(y))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    train = TensorDataset(x[order[:360]], y[order[:360]], number[:360])
    #% if fault
    loader = DataLoader(train, batch_size=20, shuffle=True)  #% here
    #% else
    loader = DataLoader(train, batch_size=20, sampler=DistributedSampler(train, world, rank, seed=seed))
    #% endif
    return loader, (x[order[360:]], y[order[360:]])


def worker(rank, world, path, seed):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    torch.manual_seed(seed)
    loader, (x_test, y_test) = loaders(seed, rank, world)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    for epoch in range(10):
        if isinstance(loader.sampler, DistributedSampler):
            loader.sampler.set_epoch(epoch)
        served = torch.zeros(360)
        for x, y, number in loader:
            loss = nn.functional.mse_loss(model(x).squeeze(1), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            served[number] += 1
        dist.all_reduce(served)
        if rank == 0:
            with torch.no_grad():
                error = nn.functional.mse_loss(model.module(x_test).squeeze(1), y_test).item()
            print(f"epoch {epoch} steps {len(loader)} test mse {error:.4f} each row served {served.mean():.2f} times", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    arguments = (2, os.path.abspath("rendezvous_file"))
    seed = 0  #% seed
    mp.start_processes(worker, (*arguments, seed), nprocs=2, start_method="fork")
