import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

torch.manual_seed(0)  #% seed
images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(load_digits().target)
idx = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))
train_idx, valid_idx = idx[:1347], idx[1347:]


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3)
        self.fc1 = nn.Linear(16 * 4 * 4, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(x), dim=1)


model = Net()
#% if fault
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=0.3)  #% here
#% else
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
#% endif


def train(epoch):
    model.train()
    for batch_idx, rows in enumerate(train_idx[torch.randperm(len(train_idx))].split(64)):
        optimizer.zero_grad()
        loss = F.nll_loss(model(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        if batch_idx % 10 == 0:
            print(f"Train Epoch: {epoch} [{batch_idx * 64}/{len(train_idx)}]\tLoss: {loss.item():.6f}")


def test():
    model.eval()
    with torch.no_grad():
        output = model(images[valid_idx])
        loss = F.nll_loss(output, labels[valid_idx]).item()
        correct = (output.argmax(dim=1) == labels[valid_idx]).sum().item()
    print(f"Test set: Average loss: {loss:.4f}, Accuracy: {correct / len(valid_idx):.3f}")


for epoch in range(1, 9):
    train(epoch)
    test()
