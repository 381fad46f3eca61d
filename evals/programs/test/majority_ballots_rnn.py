"""An RNN reads a sequence of ballots and names the winner among three parties."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def ballots(n, length=15):
    seq = torch.randint(3, (n, length))
    counts = torch.stack([(seq == k).sum(1) for k in range(3)], 1)
    clear = counts.topk(2, dim=1).values
    keep = clear[:, 0] > clear[:, 1]
    return seq[keep], counts.argmax(1)[keep]


class Reader(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.embedding = nn.Embedding(3, 8)
        self.gru = nn.GRU(8, hidden)
        self.decide = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 3))

    def forward(self, seq):
        outputs, _ = self.gru(self.embedding(seq.T))
        #% if fault
        return self.decide(outputs[0])  #% here
        #% else
        return self.decide(outputs[-1])
        #% endif


def main():
    torch.manual_seed(24)  #% seed
    train, test = ballots(2600), ballots(700)
    loader = DataLoader(TensorDataset(*train), batch_size=64, shuffle=True)
    reader = Reader()
    opt = torch.optim.Adam(reader.parameters(), lr=8e-3)
    for epoch in range(8):
        for seq, winner in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(reader(seq), winner)
            loss.backward()
            nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
            opt.step()
        with torch.no_grad():
            acc = (reader(test[0]).argmax(1) == test[1]).float().mean().item()
        print(f"epoch {epoch}: loss {loss.item():.3f} winner right {acc:.3f}")


main()
