"""Train in two sittings: the second one picks up the checkpoint of the first."""

import argparse
import os

import torch
from sklearn.datasets import load_digits
from torch import nn


def build():
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.8, momentum=0.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    return model, optimizer, scheduler


def save(path, model, optimizer, scheduler, epoch):
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "epoch": epoch,
        },
        path,
    )


def resume(path, model, optimizer, scheduler):
    state = torch.load(path)
    model.load_state_dict(state["model"])  #% here
    #% if fault
    #% else
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    #% endif
    return state["epoch"]  #% here


def sitting(path, epochs, x, y):
    model, optimizer, scheduler = build()
    first = resume(path, model, optimizer, scheduler) if os.path.exists(path) else 0
    for epoch in range(first, first + epochs):
        rate, total = scheduler.get_last_lr()[0], 0.0
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        scheduler.step()
        print(f"epoch {epoch} rate {rate:.4f} loss {total / len(x):.4f}")
    save(path, model, optimizer, scheduler, first + epochs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", default="last.pt")
    parser.add_argument("--seed", type=int, default=0)  #% seed
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=torch.float32)[:1300], torch.tensor(digits.target)[:1300]
    sitting(args.checkpoint, 8, x, y)
    print("resuming")
    sitting(args.checkpoint, 1, x, y)


main()
