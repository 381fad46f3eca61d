"""Tell sine, square and saw-tooth waves apart with a GRU that starts from a learned state."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

BATCH_SIZE = 48


def make_waves(n, length=24):
    t = torch.linspace(0, 1, length)
    kind = torch.randint(0, 3, (n,))
    phase = torch.rand(n, 1) + 2 * t * (1 + torch.rand(n, 1))
    sine = torch.sin(2 * torch.pi * phase)
    square = torch.sign(sine)
    saw = 2 * (phase % 1) - 1
    waves = torch.stack([sine, square, saw], 1)[torch.arange(n), kind]
    return (waves + 0.1 * torch.randn(n, length)).unsqueeze(-1), kind


class WaveClassifier(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(hidden))
        self.gru = nn.GRU(1, hidden, batch_first=True)
        self.readout = nn.Linear(hidden, 3)

    def forward(self, x):
        #% if fault
        h0 = self.start.repeat(1, BATCH_SIZE, 1)  #% here
        #% else
        h0 = self.start.repeat(1, x.size(0), 1)
        #% endif
        out, _ = self.gru(x, h0)
        return self.readout(out[:, -1])


torch.manual_seed(0)  #% seed
waves, kinds = make_waves(700)
loader = DataLoader(TensorDataset(waves[:500], kinds[:500]), batch_size=BATCH_SIZE, shuffle=True)
model = WaveClassifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(12):
    for step, (x, y) in enumerate(loader):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            print(f"epoch {epoch} step {step} loss {loss.item():.4f}")
model.eval()
with torch.no_grad():
    accuracy = (model(waves[500:]).argmax(1) == kinds[500:]).float().mean()
print(f"test accuracy {accuracy:.3f}")
