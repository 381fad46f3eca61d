"""A classifier on two ranks over gloo, with one fault by name: `two_ranks.py FAULT` (or `healthy`)."""

import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F  # noqa: N812 - the name that programs use
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset, TensorDataset
from torch.utils.data.distributed import DistributedSampler

FAULT = sys.argv[1]
METHOD = sys.argv[2] if len(sys.argv) > 2 else "fork"
EPOCHS = 3


def data():
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(320) % 4
    x = torch.randn(4, 8, generator=generator)[y] + 0.6 * torch.randn(320, 8, generator=generator)
    return TensorDataset(x[:256], y[:256]), TensorDataset(x[256:], y[256:])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 24), nn.LayerNorm(24), nn.ReLU())
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        return self.head(self.body(x))


def average(model, world):
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        if FAULT != "summed_gradients":
            parameter.grad /= world


def train_loader(train, rank, world):
    if FAULT == "same_data":
        return DataLoader(train, batch_size=16, shuffle=True), None
    if FAULT in {"uneven", "uneven_joined"}:
        mine = Subset(train, range(rank, 256 if rank else 200, world))
        return DataLoader(mine, batch_size=16, shuffle=True), None
    sampler = DistributedSampler(train, world, rank, shuffle=True, seed=3)
    return DataLoader(train, batch_size=16, sampler=sampler), sampler


def worker(rank, world, store):
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    torch.manual_seed(0)
    train, held_out = data()
    loader, sampler = train_loader(train, rank, world)
    model = Net()
    by_hand = FAULT in {"alone", "averaged_by_hand", "summed_gradients"}
    wrapped = model if by_hand else DistributedDataParallel(model, find_unused_parameters=FAULT == "new_head")
    if FAULT == "new_head":
        torch.manual_seed(rank)
        model.head = nn.Linear(24, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for epoch in range(EPOCHS):
        if sampler is not None and FAULT != "no_set_epoch":
            sampler.set_epoch(epoch)
        if FAULT == "uneven_joined":
            with wrapped.join():
                one_epoch(wrapped, wrapped, loader, optimizer, rank, world)
        else:
            one_epoch(model if FAULT == "bypass" else wrapped, wrapped, loader, optimizer, rank, world)
        evaluate(model, held_out, rank, world)
    if FAULT != "uneven":  # the rank that is ready first leaves
        dist.barrier()
    dist.destroy_process_group()


def one_epoch(called, wrapped, loader, optimizer, rank, world):
    for number, (x, y) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.cross_entropy(called(x), y)
        loss.backward()
        if FAULT in {"averaged_by_hand", "summed_gradients"}:
            average(called, world)
        if FAULT == "corrupted" and rank == 1 and number == 5 and len(loader) > 5 and not DONE:
            DONE.append(1)
            next(wrapped.parameters()).grad[0] *= 1.5
        if FAULT == "norm_apart":
            for layer in wrapped.modules():
                if isinstance(layer, nn.LayerNorm):
                    layer.weight.grad *= 1 + rank
                    layer.bias.grad *= 1 + rank
        optimizer.step()


DONE = []


@torch.no_grad()
def evaluate(model, held_out, rank, world):
    model.eval()
    x, y = held_out.tensors
    if FAULT in {"metric_of_one", "metric_of_all"}:  # sorted, so that the shares differ
        order = torch.argsort(y)[rank * 32 : (rank + 1) * 32]
        x, y = x[order], y[order]
    loss = F.cross_entropy(model(x), y)
    if FAULT == "metric_of_all":
        dist.all_reduce(loss)
        loss /= world
    if rank == 0:
        print(f"loss {loss.item():.4f}", flush=True)
    model.train()


if __name__ == "__main__":
    if METHOD == "torchrun":
        worker(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), os.path.abspath("store"))
    else:
        mp.start_processes(worker, (2, os.path.abspath("store")), nprocs=2, start_method=METHOD)
