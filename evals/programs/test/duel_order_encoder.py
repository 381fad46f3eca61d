"""Who is named first? A transformer encoder reads a shuffled list of ten names and finds the order of two of them."""
import torch
from torch import nn

NAMES, LENGTH = 20, 10


class OrderNet(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.names = nn.Embedding(NAMES, width)
        self.places = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.verdict = nn.Linear(width, 2)

    def forward(self, ids):
        h = self.names(ids)
        #% if fault
        place = self.places(torch.arange(LENGTH)).expand_as(h)  #% here
        #% else
        h = h + self.places(torch.arange(LENGTH))
        #% endif
        return self.verdict(self.encoder(h).mean(1))


def lists(n):
    """Names 0 and 1 are always present; the answer is which of them comes first."""
    others = torch.randint(2, NAMES, (n, LENGTH))
    order = torch.rand(n, LENGTH).argsort(1)
    others.scatter_(1, order[:, :1], 0)
    others.scatter_(1, order[:, 1:2], 1)
    return others, (order[:, 0] < order[:, 1]).long()


torch.manual_seed(41)  #% seed
net = OrderNet()
opt = torch.optim.AdamW(net.parameters(), lr=2e-3)
for step in range(1, 221):
    ids, first = lists(64)
    loss = nn.functional.cross_entropy(net(ids), first)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 44 == 0:
        with torch.no_grad():
            ids, first = lists(500)
            acc = (net(ids).argmax(1) == first).float().mean().item()
        print(f"step {step}, loss {loss.item():.4f}, fresh lists right {acc:.3f}")
