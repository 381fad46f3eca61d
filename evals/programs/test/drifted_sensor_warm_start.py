"""Fine-tuning on a small set from a drifted sensor, from weights learned on a large clean one."""
import torch
from torch import nn


class Backbone(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.a = nn.Linear(20, width)
        self.b = nn.Linear(width, width)

    def forward(self, x):
        return torch.relu(self.b(torch.relu(self.a(x))))


class Classifier(nn.Module):
    def __init__(self, classes, pretrained=None):
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Linear(64, classes)
        #% if fault
        if pretrained is not None:
            self.load_state_dict(pretrained)
        self.apply(self.reset)  #% here
        #% else
        self.apply(self.reset)
        if pretrained is not None:
            self.load_state_dict(pretrained)
        #% endif

    @staticmethod
    def reset(module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.head(self.backbone(x))


def task(mixing, n, classes):
    """Classes are cells of a curved hidden space shared by both tasks."""
    z = torch.randn(n, 3)
    x = torch.tanh(z @ mixing) + 0.03 * torch.randn(n, 20)
    bits = (z[:, :-1] * z[:, 1:] > 0).long()
    corner = 4 * (z[:, 2] > 0).long() + bits[:, 0] * 2 + bits[:, 1]
    return x, corner % classes


def fit(model, x, y, steps, lr, name):
    opt = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(steps):
        i = torch.randint(len(x), (64,))
        loss = nn.functional.cross_entropy(model(x[i]), y[i])
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 20 == 0:
            print(f"{name} step {step} loss {loss.item():.3f}")


torch.manual_seed(46)  #% seed
mixing = torch.randn(3, 20) * 0.7
big_x, big_y = task(mixing, 4000, 8)
source = Classifier(8)
fit(source, big_x, big_y, 540, 5e-3, "source")
drifted = mixing + 0.15 * torch.randn_like(mixing)
small_x, small_y = task(drifted, 40, 8)
test_x, test_y = task(drifted, 800, 8)
target = Classifier(8, pretrained=source.state_dict())
fit(target, small_x, small_y, 24, 2e-3, "target")
with torch.no_grad():
    print(f"target accuracy {(target(test_x).argmax(1) == test_y).float().mean().item():.3f}")
