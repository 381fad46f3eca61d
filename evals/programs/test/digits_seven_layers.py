"""Deep fully connected net on digits with an initializer of its own."""
import torch
from sklearn.datasets import load_digits
from torch import nn


@torch.no_grad()
def prepare(module):
    if isinstance(module, nn.Linear):
        #% if fault
        module.weight.normal_(0.0, 0.02)  #% here
        #% else
        module.weight.normal_(0.0, (2.0 / module.in_features) ** 0.5)
        #% endif
        module.bias.zero_()


def build(depth=7, width=64):
    blocks = [nn.Linear(64, width), nn.ReLU()]
    for _ in range(depth - 2):
        blocks += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Linear(width, 10)).apply(prepare)


def main():
    torch.manual_seed(2)  #% seed
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 8 - 0.6, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(y))
    train, test = order[:1440], order[1440:]
    model = build()
    sgd = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for epoch in range(9):
        losses = []
        for idx in train[torch.randperm(len(train))].split(36):
            loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            losses.append(loss.item())
        with torch.no_grad():
            acc = model(x[test]).argmax(1).eq(y[test]).float().mean().item()
        print(f"{epoch} | {sum(losses) / len(losses):.4f} | {acc:.4f}")
    print(f"final accuracy {acc:.4f}")


if __name__ == "__main__":
    main()
