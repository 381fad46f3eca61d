import torch
from sklearn.datasets import load_iris
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)  #% seed
iris = load_iris()
features = torch.tensor((iris.data - iris.data.mean(0)) / iris.data.std(0), dtype=torch.float32)
dataset = TensorDataset(features, torch.tensor(iris.target))
train_set, test_set = random_split(dataset, [110, 40])
train_loader = DataLoader(train_set, batch_size=10, shuffle=True)
test_loader = DataLoader(test_set, batch_size=40)


class IrisNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.input = nn.Linear(4, 16)
        self.output = nn.Linear(16, 3)

    def forward(self, x):
        return self.output(torch.relu(self.input(x)))


def train(model, epochs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.5)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        running_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            #% if fault
            running_loss += loss.item()
        optimizer.step()  #% here
            #% else
            optimizer.step()
            running_loss += loss.item()
            #% endif
        if epoch % 5 == 4:
            correct = sum((model(x).argmax(1) == y).sum().item() for x, y in test_loader)
            print(f"Epoch {epoch + 1}: loss {running_loss / len(train_loader):.4f}, test accuracy {correct / 40:.3f}")


train(IrisNet(), epochs=60)
