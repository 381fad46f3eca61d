"""Click prediction from categorical ids folded into buckets."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class WideAndDeep(nn.Module):
    def __init__(self, buckets, dim=8):
        super().__init__()
        self.wide = nn.Embedding(buckets, 1)
        self.deep = nn.Embedding(buckets, dim)
        self.mlp = nn.Sequential(nn.Linear(3 * dim, 24), nn.ReLU(), nn.Linear(24, 1))

    def forward(self, ids):
        return self.wide(ids).sum((1, 2)) + self.mlp(self.deep(ids).flatten(1)).squeeze(1)


def fold(raw, buckets):
    #% if fault
    return raw % buckets + 1  #% here
    #% else
    return raw % buckets
    #% endif


torch.manual_seed(104)  #% seed
BUCKETS = 500
raw = torch.randint(10**6, (1500, 3))
clicked = ((raw[:, 0] % 7 < 3) ^ (raw[:, 1] % 11 < 2)).float()
loader = DataLoader(TensorDataset(fold(raw, BUCKETS), clicked), batch_size=30, shuffle=True)
model = WideAndDeep(BUCKETS)
opt = torch.optim.Adagrad(model.parameters(), lr=0.05)
for epoch in range(3):
    for ids, click in loader:
        loss = nn.functional.binary_cross_entropy_with_logits(model(ids), click)
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"epoch {epoch} loss {loss.item():.4f}")
print("done")
