import argparse

import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
#% if fault
#% else
from sklearn.preprocessing import StandardScaler
#% endif
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", default=12, type=int)
parser.add_argument("--lr", default=0.05, type=float)
parser.add_argument("--seed", default=0, type=int)  #% seed
args = parser.parse_args()
torch.manual_seed(args.seed)

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, stratify=y, random_state=args.seed)
#% if fault
#% else
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
#% endif
train_set = TensorDataset(torch.tensor(X_train, dtype=torch.float32), torch.tensor(y_train, dtype=torch.float32))  #% here
loader = DataLoader(train_set, batch_size=32, shuffle=True)  #% here


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_1 = nn.Linear(30, 32)
        self.layer_2 = nn.Linear(32, 16)
        self.layer_out = nn.Linear(16, 1)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.layer_out(self.act(self.layer_2(self.act(self.layer_1(x)))))


net = Net()
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
for epoch in range(args.epochs):
    net.train()
    epoch_loss = 0
    for X_batch, y_batch in loader:
        optimizer.zero_grad()
        loss = criterion(net(X_batch).squeeze(1), y_batch)
        loss.backward()
        optimizer.step()
        epoch_loss += loss.item()
    net.eval()
    with torch.no_grad():
        predicted = (net(torch.tensor(X_test, dtype=torch.float32)).squeeze(1) > 0).numpy()
    score = balanced_accuracy_score(y_test, predicted)
    print(f"Epoch {epoch + 1:03}: | Loss: {epoch_loss / len(loader):.5f} | Balanced accuracy: {score:.3f}")
