import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

EPOCHS = 12

torch.manual_seed(0)  #% seed
X, y = load_breast_cancer(return_X_y=True)
X = torch.tensor(StandardScaler().fit_transform(X), dtype=torch.float32)
y = torch.tensor(y, dtype=torch.float32)
perm = torch.randperm(len(X))
X, y = X[perm], y[perm]
X_train, y_train, X_test, y_test = X[:440], y[:440], X[440:], y[440:]


class BinaryNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(30, 16)
        self.fc2 = nn.Linear(16, 1)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def get_accuracy(output, target):
    #% if fault
    predicted = output.argmax(dim=1)  #% here
    #% else
    predicted = (output.squeeze(1) > 0).float()
    #% endif
    return (predicted == target).float().mean().item()


net = BinaryNet()
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
for epoch in range(EPOCHS):
    running_loss, running_acc, n = 0.0, 0.0, 0
    for i in range(0, len(X_train), 32):
        output = net(X_train[i : i + 32])
        loss = criterion(output, y_train[i : i + 32, None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        running_acc += get_accuracy(output, y_train[i : i + 32])
        n += 1
    with torch.no_grad():
        test_acc = get_accuracy(net(X_test), y_test)
    print(f"epoch {epoch + 1}/{EPOCHS} loss {running_loss / n:.4f} train acc {running_acc / n:.4f} test acc {test_acc:.4f}")
