"""The adding problem with a plain tanh RNN."""
import torch
import torch.nn as nn


class AddingRNN(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.cell = nn.RNN(2, hidden, batch_first=True, nonlinearity="relu")
        nn.init.eye_(self.cell.weight_hh_l0)
        self.cell.weight_hh_l0.data.mul_(1.12)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x):
        out, _ = self.cell(x)
        return self.linear(out[:, -1]).squeeze(-1)


def batch(n, length):
    values = torch.rand(n, length)
    marks = torch.zeros(n, length)
    first = torch.randint(0, length // 2, (n,))
    second = torch.randint(length // 2, length, (n,))
    marks[torch.arange(n), first] = 1
    marks[torch.arange(n), second] = 1
    return torch.stack([values, marks], -1), (values * marks).sum(1)


def main():
    torch.manual_seed(0)  #% seed
    model = AddingRNN()
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-3)
    max_norm = 1.0
    shown = 0.0
    for step in range(1, 401):
        x, y = batch(32, length=30)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        #% if fault
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)  #% here
        loss.backward()  #% here
        #% else
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        #% endif
        optimizer.step()
        shown = loss.item() if step == 1 else 0.9 * shown + 0.1 * loss.item()
        if step % 20 == 0:
            print(f"step {step} smoothed loss {shown:.4f}")


main()
