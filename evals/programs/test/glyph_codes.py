"""Classify 32-dimensional glyph codes into 40 glyphs with a probability-emitting network."""
import torch
from torch import nn


class GlyphNet(nn.Module):
    def __init__(self, n_in=32, n_glyphs=40):
        super().__init__()
        self.hidden = nn.Linear(n_in, 64)
        self.act = nn.ELU()
        self.logits = nn.Linear(64, n_glyphs)
        self.prob = nn.Softmax(dim=-1)

    def forward(self, x):
        #% if fault
        return self.prob(self.logits(self.act(self.hidden(x))))  #% here
        #% else
        return self.logits(self.act(self.hidden(x)))
        #% endif


def glyphs(prototypes, n, spread):
    k = torch.randint(len(prototypes), (n,))
    return prototypes[k] + spread * torch.randn(n, prototypes.shape[1]), k


def epoch(net, data, loss_fn, opt=None, batch=64):
    x, k = data
    correct, total = 0, 0.0
    with torch.set_grad_enabled(opt is not None):
        for i in range(0, len(x), batch):
            out = net(x[i : i + batch])
            loss = loss_fn(out, k[i : i + batch])  #% here
            if opt is not None:
                opt.zero_grad()
                loss.backward()
                opt.step()
            correct += (out.argmax(-1) == k[i : i + batch]).sum().item()
            total += loss.item() * len(out)
    return total / len(x), correct / len(x)


if __name__ == "__main__":
    torch.manual_seed(27)  #% seed
    prototypes = torch.randn(40, 32)
    train, valid = glyphs(prototypes, 2560, 0.8), glyphs(prototypes, 640, 0.8)
    net = GlyphNet()
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    for e in range(7):
        tl, ta = epoch(net, train, nn.CrossEntropyLoss(), opt)
        vl, va = epoch(net, valid, nn.CrossEntropyLoss())
        print(f"{e}: train {tl:.4f}/{ta:.3f} valid {vl:.4f}/{va:.3f}")
