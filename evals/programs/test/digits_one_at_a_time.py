"""Digits with batch normalisation; after training, images are classified one at a time as they would arrive."""
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(10)
        self.fc1 = nn.Linear(160, 32)
        self.drop = nn.Dropout(0.6)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x))).flatten(1)
        return self.fc2(self.drop(torch.relu(self.fc1(x))))


@torch.no_grad()
def classify_stream(net, images):
    #% if fault
    return torch.cat([net(image.unsqueeze(0)) for image in images]).argmax(1)  #% here
    #% else
    net.eval()
    return torch.cat([net(image.unsqueeze(0)) for image in images]).argmax(1)
    #% endif


torch.manual_seed(95)  #% seed
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
order = torch.randperm(len(labels))
tr, te = order[:1400], order[1400:]
net = SmallNet()
opt = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(6):
    net.train()
    hit = 0
    for x, y in DataLoader(TensorDataset(images[tr], labels[tr]), batch_size=56, shuffle=True):
        out = net(x)
        loss = nn.functional.cross_entropy(out, y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        hit += (out.argmax(1) == y).sum().item()
    print(f"epoch {epoch} loss {loss.item():.3f} running accuracy {hit / 1400:.3f}")
print(f"stream accuracy {(classify_stream(net, images[te]) == labels[te]).float().mean().item():.3f}")
