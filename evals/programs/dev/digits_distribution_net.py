import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 100)
        self.fc2 = nn.Linear(100, 10)
        #% if fault
        self.activation = nn.Softmax(dim=1)  #% here
        #% else
        self.activation = nn.LogSoftmax(dim=1)
        #% endif

    def forward(self, x):
        return self.activation(self.fc2(torch.relu(self.fc1(x))))


torch.manual_seed(0)  #% seed
raw = load_digits()
dataset = TensorDataset(torch.tensor(raw.data / 16, dtype=torch.float32), torch.tensor(raw.target))
train, test = random_split(dataset, [1500, 297])
net = Net()
criterion = nn.NLLLoss()  #% here
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
test_x, test_y = test[:]

for epoch in range(8):
    epoch_loss = 0.0
    for inputs, labels in DataLoader(train, batch_size=50, shuffle=True):
        optimizer.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item()
    with torch.no_grad():
        out = net(test_x)
        test_loss = criterion(out, test_y).item()
        accuracy = (out.argmax(1) == test_y).float().mean().item()
    print(f"epoch {epoch + 1} training loss {epoch_loss / 30:.4f} test loss {test_loss:.4f} accuracy {accuracy:.3f}")
