"""Wine cultivars with a loss that is reported per sample of the whole data set."""

from dataclasses import dataclass, field

import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Experiment:
    seed: int = 0  #% seed
    lr: float = 0.1
    batch_size: int = 16
    epochs: int = 20
    history: list[float] = field(default_factory=list)

    def data(self):
        x, y = load_wine(return_X_y=True)
        x = StandardScaler().fit_transform(x).astype("float32")
        parts = train_test_split(torch.tensor(x), torch.tensor(y), test_size=50, random_state=self.seed, stratify=y)
        train = TensorDataset(parts[0], parts[2])
        return DataLoader(train, self.batch_size, shuffle=True), parts[1], parts[3]

    def loss(self, logits: Tensor, y: Tensor, n: int) -> Tensor:
        #% if fault
        return nn.functional.cross_entropy(logits, y) / n  #% here
        #% else
        return nn.functional.cross_entropy(logits, y)
        #% endif

    def run(self):
        torch.manual_seed(self.seed)
        loader, x_test, y_test = self.data()
        net = nn.Sequential(nn.Linear(13, 24), nn.Tanh(), nn.Linear(24, 3))
        optimizer = torch.optim.SGD(net.parameters(), lr=self.lr)
        for epoch in range(self.epochs):
            for x, y in loader:
                loss = self.loss(net(x), y, len(loader.dataset))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                self.history.append(loss.item())
            with torch.no_grad():
                logits = net(x_test)
                test_loss = nn.functional.cross_entropy(logits, y_test).item()
                accuracy = (logits.argmax(1) == y_test).float().mean().item()
            recent = sum(self.history[-len(loader) :]) / len(loader)
            print(f"epoch {epoch} loss {recent:.4g} test loss {test_loss:.4f} test accuracy {accuracy:.3f}")


Experiment().run()
