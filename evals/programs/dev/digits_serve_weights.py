"""Train, save, and load the weights into the module that the service uses."""

import torch
from sklearn.datasets import load_digits
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x):
        return self.net(x)


class TrainingModule(nn.Module):
    """Wraps a model together with its loss, as the training loop wants it."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x, y):
        return self.criterion(self.model(x), y)


def load_for_service(path):
    service = Classifier()
    state = torch.load(path)
    #% if fault
    service.load_state_dict(state, strict=False)  #% here
    #% else
    service.load_state_dict({name.removeprefix("model."): value for name, value in state.items()})
    #% endif
    return service.eval()


def main():
    torch.manual_seed(0)  #% seed
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    order = torch.randperm(len(x))
    train, test = order[:1400], order[1400:]
    module = TrainingModule(Classifier())
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    for epoch in range(6):
        total = 0.0
        for rows in train[torch.randperm(1400)].split(70):
            loss = module(x[rows], y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / 20:.4f}")
    torch.save(module.state_dict(), "weights.pt")

    service = load_for_service("weights.pt")
    with torch.no_grad():
        trained = (module.model(x[test]).argmax(1) == y[test]).float().mean().item()
        served = (service(x[test]).argmax(1) == y[test]).float().mean().item()
    print(f"test accuracy after training {trained:.3f}")
    print(f"test accuracy of the service {served:.3f}")


main()
