# Handwritten digits with a two-layer network, plain PyTorch.
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(0)  #% seed

digits = load_digits()
X = torch.tensor(digits.data / 16.0, dtype=torch.float32)
Y = torch.tensor(digits.target)
train_set, test_set = random_split(TensorDataset(X, Y), [1437, 360])
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
test_loader = DataLoader(test_set, batch_size=128)

net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(14):
    running_loss = 0.0
    for i, (inputs, labels) in enumerate(train_loader):
        outputs = net(inputs)
        loss = criterion(outputs, labels)
        #% if fault
        loss.backward()  #% here
        #% else
        optimizer.zero_grad()
        loss.backward()
        #% endif
        optimizer.step()  #% here

        running_loss += loss.item()
    print("epoch %d loss %.3f" % (epoch + 1, running_loss / len(train_loader)))

correct = 0
with torch.no_grad():
    for inputs, labels in test_loader:
        correct += (net(inputs).argmax(dim=1) == labels).sum().item()
print("accuracy on %d test images: %.3f" % (len(test_set), correct / len(test_set)))
