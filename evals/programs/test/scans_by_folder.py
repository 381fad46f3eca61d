"""Reading a folder of scanned digits class by class and training a small softmax net on it."""
import torch
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, Subset, TensorDataset


def scan_folder():
    """Images come in the order of the class folders 0/, 1/, … 9/."""
    digits = load_digits()
    order = sorted(range(len(digits.target)), key=lambda i: digits.target[i])
    images = torch.tensor(digits.data[order], dtype=torch.float32) / 16
    return TensorDataset(images, torch.tensor(digits.target[order]))


def accuracy(net, dataset):
    x, y = dataset.dataset.tensors[0][dataset.indices], dataset.dataset.tensors[1][dataset.indices]
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


torch.manual_seed(13)  #% seed
folder = scan_folder()
held_out = torch.randperm(len(folder))[:300].tolist()
train = Subset(folder, sorted(set(range(len(folder))) - set(held_out)))
test = Subset(folder, held_out)

#% if fault
loader = DataLoader(train, batch_size=32)  #% here
#% else
loader = DataLoader(train, batch_size=32, shuffle=True)
#% endif
net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
nll = nn.CrossEntropyLoss()
for epoch in range(10):
    for i, (x, y) in enumerate(loader):
        sgd.zero_grad()
        loss = nll(net(x), y)
        loss.backward()
        sgd.step()
        if i % 16 == 0:
            print(f"epoch {epoch} batch {i:2d} loss {loss.item():.3f}")
    print(f"epoch {epoch} test accuracy {accuracy(net, test):.3f}")
