"""Digits trained with large noisy steps; a moving average of the weights is what is evaluated."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def build():
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 8 - 1, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(y))
    train, test = order[:1300], order[1300:]
    model = build()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.97))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(1, 301):
        rows = train[torch.randint(1300, (8,))]
        loss = nn.functional.cross_entropy(model(x[rows]) + 1.5 * torch.randn(8, 10), y[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        average.update_parameters(model)
        if step % 30 == 0:
            print(f"step {step} loss {loss.item():.4f} test accuracy {accuracy(average, x[test], y[test]):.3f}")
    evaluated = accuracy(average, x[test], y[test])
    #% if fault
    torch.save(model.state_dict(), "digits.pt")  #% here
    #% else
    torch.save(average.module.state_dict(), "digits.pt")
    #% endif

    released = build()
    released.load_state_dict(torch.load("digits.pt"))
    answer = accuracy(released, x[test], y[test])
    print(f"released model {answer:.3f}, {evaluated - answer:.3f} less than evaluated")


main()
