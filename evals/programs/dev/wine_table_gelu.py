"""Classify wines from a table in which a few assays were not recorded."""
import argparse
import logging
import sys

import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, Dataset

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s %(message)s")
log = logging.getLogger("wine")


def read_table(rng):
    """The laboratory leaves a cell empty when an assay was not run."""
    rows, labels = load_wine(return_X_y=True)
    for _ in range(3):
        rows[rng.integers(len(rows)), rng.integers(rows.shape[1])] = np.nan
    return rows, labels


class WineTable(Dataset):
    def __init__(self, rows, labels):
        center, spread = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
        scaled = (rows - center) / spread
        #% if fault
        self.rows = torch.as_tensor(scaled, dtype=torch.float32)  #% here
        #% else
        self.rows = torch.as_tensor(np.nan_to_num(scaled), dtype=torch.float32)
        #% endif
        self.labels = torch.as_tensor(labels)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i], self.labels[i]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)  #% seed
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    table = WineTable(*read_table(np.random.default_rng(args.seed)))
    loader = DataLoader(table, batch_size=args.batch_size, shuffle=True)
    model = nn.Sequential(nn.Linear(13, 32), nn.GELU(), nn.Linear(32, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for epoch in range(args.epochs):
        losses, hits = [], 0
        for rows, labels in loader:
            logits = model(rows)
            loss = nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            hits += (logits.argmax(1) == labels).sum().item()
        log.info("epoch %d loss %.4f accuracy %.3f", epoch, sum(losses) / len(losses), hits / len(table))


main()
