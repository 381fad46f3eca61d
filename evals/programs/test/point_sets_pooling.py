"""DeepSets on ragged point clouds: which of three generators drew the points?"""
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset


class Clouds(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.items = []
        for _ in range(n):
            kind = int(torch.randint(3, (1,), generator=g))
            count = int(torch.randint(4, 20, (1,), generator=g))
            pts = torch.randn(count, 2, generator=g)
            if kind == 1:
                pts = pts / pts.norm(dim=1, keepdim=True)
            elif kind == 2:
                pts = pts.sign() + 0.3 * pts
            inside = pts[pts.abs().amax(1) < 1.0]  # the sensor's field of view
            self.items.append((inside, kind))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(items):
    pts = pad_sequence([p for p, _ in items], batch_first=True)
    mask = pad_sequence([torch.ones(len(p)) for p, _ in items], batch_first=True)
    return pts, mask, torch.tensor([k for _, k in items])


class DeepSet(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(2, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())
        self.rho = nn.Sequential(nn.Linear(hidden + 1, hidden), nn.GELU(), nn.Linear(hidden, 3))

    def forward(self, pts, mask):
        h = self.phi(pts) * mask.unsqueeze(-1)
        count = mask.sum(1, keepdim=True)
        #% if fault
        pooled = h.sum(1) / count  #% here
        #% else
        pooled = h.sum(1) / count.clamp(min=1.0)
        #% endif
        return self.rho(torch.cat([pooled, count / 20], dim=1))


def main(seed=31):  #% seed
    torch.manual_seed(seed)
    train = DataLoader(Clouds(1400, seed), batch_size=32, shuffle=True, collate_fn=collate)
    test = DataLoader(Clouds(400, seed + 1000), batch_size=400, collate_fn=collate)
    net = DeepSet()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    for epoch in range(8):
        for pts, mask, kind in train:
            loss = nn.functional.cross_entropy(net(pts, mask), kind)
            opt.zero_grad()
            loss.backward()
            opt.step()
        pts, mask, kind = next(iter(test))
        with torch.no_grad():
            acc = (net(pts, mask).argmax(1) == kind).float().mean()
        print(f"epoch {epoch} loss {loss:.3f} test accuracy {acc:.3f}")


if __name__ == "__main__":
    main()
