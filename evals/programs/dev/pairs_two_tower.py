"""Two-tower retrieval on synthetic queries and documents, trained with in-batch negatives."""

import torch
import torch.nn.functional as F
from torch import nn


class Tower(nn.Module):
    def __init__(self, n_in, n_out=16):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_in, 48), nn.ReLU(), nn.Linear(48, n_out))

    def forward(self, x):
        return F.normalize(self.body(x), dim=-1)


class TwoTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.query_tower = Tower(20)
        self.document_tower = Tower(30)
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def encode_documents(self, documents):
        return self.document_tower(documents)

    def encode_queries(self, queries):
        return self.query_tower(queries)

    def forward(self, queries, documents):
        #% if fault
        with torch.no_grad():  #% here
            q = self.encode_queries(queries)  #% here
            d = self.encode_documents(documents)
        q = q * self.temperature.exp()
        return q @ d.T
        #% else
        q = self.encode_queries(queries)
        d = self.encode_documents(documents)
        return self.temperature.exp() * q @ d.T
        #% endif


def topic_pairs(n, maps):
    topic = torch.randn(n, 8)
    q = torch.tanh(topic @ maps[0]) + 0.1 * torch.randn(n, 20)
    d = torch.tanh(topic @ maps[1]) + 0.1 * torch.randn(n, 30)
    return q, d


def main():
    torch.manual_seed(0)  #% seed
    maps = torch.randn(8, 20), torch.randn(8, 30)
    q, d = topic_pairs(2000, maps)
    q_test, d_test = topic_pairs(100, maps)
    model = TwoTower()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(1, 301):
        rows = torch.randperm(len(q))[:64]
        logits = model(q[rows], d[rows])
        loss = F.cross_entropy(logits, torch.arange(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            with torch.no_grad():
                hits = (model(q_test, d_test).argmax(1) == torch.arange(100)).float().mean()
            print(f"step {step} loss {loss.item():.4f} recall@1 {hits:.3f}")


main()
