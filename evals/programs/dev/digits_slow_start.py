"""Vision transformer in miniature on digits, with a warm-up over half of the run."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

STEPS, WARMUP = 260, 130


class PatchTransformer(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.patch = nn.Linear(4, dim)
        self.place = nn.Parameter(0.02 * torch.randn(1, 16, dim))
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        patches = x.unfold(1, 2, 2).unfold(2, 2, 2).reshape(len(x), 16, 4)
        return self.head(self.encoder(self.patch(patches) + self.place).mean(1))


def main():
    torch.manual_seed(0)  #% seed
    digits = load_digits()
    x, y = torch.tensor(digits.images / 16, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(y))
    train, test = order[:1500], order[1500:]
    model = PatchTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = LambdaLR(optimizer, lambda s: min((s + 1) / WARMUP, 1.0) ** 3 * (1.0 if s < WARMUP else (STEPS - s) / (STEPS - WARMUP)))
    for step in range(1, STEPS + 1):
        rows = train[torch.randint(1500, (48,))]
        loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            with torch.no_grad():
                accuracy = (model(x[test]).argmax(1) == y[test]).float().mean().item()
            print(f"step {step} lr {schedule.get_last_lr()[0]:.1e} loss {loss.item():.4f} test {accuracy:.3f}")


main()
