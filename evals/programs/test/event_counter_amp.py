"""Mixed precision with gradient clipping on CPU; a GRU counts events in a stream."""
import torch
from torch import nn


class EventCounter(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.inp = nn.Linear(3, hidden)
        self.cell = nn.GRUCell(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        h = x.new_zeros(x.shape[0], self.cell.hidden_size)
        for t in range(x.shape[1]):
            h = self.cell(torch.tanh(self.inp(x[:, t])).float(), h)
        return self.out(h).squeeze(1)


def streams(n, length=10):
    x = torch.randn(n, length, 3)
    events = (x[:, :, 0] > 0.5) & (x[:, :, 1] > 0)
    return x, events.sum(1).float() / 2 - 0.8


def train(net, opt, scaler, steps, max_norm):
    for step in range(1, steps + 1):
        x, count = streams(48)
        opt.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pred = net(x)
        loss = nn.functional.smooth_l1_loss(pred.float(), count)
        scaler.scale(loss).backward()
        #% if fault
        norm = nn.utils.clip_grad_norm_(net.parameters(), max_norm)  #% here
        #% else
        scaler.unscale_(opt)
        norm = nn.utils.clip_grad_norm_(net.parameters(), max_norm)
        #% endif
        scaler.step(opt)
        scaler.update()
        if step % 30 == 0:
            print(f"step {step} loss {loss.item():.4f} norm {norm.item():.3g}")


if __name__ == "__main__":
    torch.manual_seed(77)  #% seed
    net = EventCounter()
    opt = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    train(net, opt, torch.amp.GradScaler("cpu", init_scale=2.0**16), 210, 1.0)
    x, count = streams(500)
    with torch.no_grad():
        share = (net(x) - count).square().mean() / count.var()
    print(f"unexplained {share.item():.3f}")
