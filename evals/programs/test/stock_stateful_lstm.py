"""One long price series read in consecutive chunks by an LSTM that keeps its state."""
import torch
from torch import nn


class Reader(nn.Module):
    def __init__(self, hidden=20):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.next = nn.Linear(hidden, 1)
        self.state = None

    def forward(self, chunk):
        out, state = self.lstm(chunk, self.state)
        #% if fault
        self.state = state  #% here
        #% else
        self.state = tuple(s.detach() for s in state)
        #% endif
        return self.next(out)


torch.manual_seed(105)  #% seed
series = torch.zeros(16, 1201)
for t in range(1, 1201):
    series[:, t] = 0.9 * series[:, t - 1] + 0.3 * torch.randn(16)
reader = Reader()
opt = torch.optim.Adam(reader.parameters(), lr=5e-3)
for start in range(0, 1200, 20):
    x, y = series[:, start : start + 20, None], series[:, start + 1 : start + 21, None]
    loss = nn.functional.mse_loss(reader(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if start % 200 == 180:
        print(f"t {start + 20} mse {loss.item():.4f}")
