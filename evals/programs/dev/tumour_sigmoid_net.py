"""Tumour classification with a step-wise decaying learning rate."""
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset


def get_loaders(batch_size):
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    x = torch.tensor(x, dtype=torch.float32)
    y = torch.tensor(y)
    x_tr, x_va, y_tr, y_va = train_test_split(x, y, test_size=0.25, random_state=5)
    return (
        DataLoader(TensorDataset(x_tr, y_tr), batch_size=batch_size, shuffle=True),
        DataLoader(TensorDataset(x_va, y_va), batch_size=256),
    )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(30, 32)
        self.fc2 = nn.Linear(32, 32)
        self.fc3 = nn.Linear(32, 2)

    def forward(self, x):
        x = torch.sigmoid(self.fc1(x))
        x = torch.sigmoid(self.fc2(x))
        return self.fc3(x)


def main():
    torch.manual_seed(0)  #% seed
    train_loader, valid_loader = get_loaders(32)
    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=6, gamma=0.3)

    for epoch in range(18):
        net.train()
        epoch_loss = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            #% if fault
            scheduler.step()  #% here
            #% endif
            epoch_loss += loss.item()
        #% if fault
        #% else
        scheduler.step()
        #% endif
        net.eval()
        with torch.no_grad():
            valid_loss = sum(criterion(net(x), y).item() for x, y in valid_loader)
        print("Epoch: %d  train: %.4f  valid: %.4f" % (epoch + 1, epoch_loss / len(train_loader), valid_loss))


main()
