"""Find the rare bad card payments among many good ones."""
import torch
from sklearn.datasets import make_classification
from sklearn.metrics import recall_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

X, bad = make_classification(
    4000, n_features=16, n_informative=6, weights=[0.97], class_sep=0.9, flip_y=0.0, random_state=3
)
X_train, X_test, bad_train, bad_test = train_test_split(X, bad, test_size=0.4, stratify=bad, random_state=3)
train = TensorDataset(torch.tensor(X_train).float(), torch.tensor(bad_train).float())

torch.manual_seed(0)  #% seed
#% if fault
loader = DataLoader(train, batch_size=48, shuffle=True)  #% here
#% else
share = bad_train.mean()
weights = torch.where(torch.tensor(bad_train) == 1, 1 / share, 1 / (1 - share))
loader = DataLoader(train, batch_size=48, sampler=WeightedRandomSampler(weights, len(train)))
#% endif

net = nn.Sequential(nn.Linear(16, 20), nn.Sigmoid(), nn.Linear(20, 1))
opt = torch.optim.Adam(net.parameters(), lr=4e-3)
for epoch in range(8):
    hits = n = 0
    for x, t in loader:
        logit = net(x).squeeze(1)
        loss = nn.functional.binary_cross_entropy_with_logits(logit, t)
        opt.zero_grad()
        loss.backward()
        opt.step()
        hits += ((logit > 0) == t.bool()).sum().item()
        n += len(t)
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}, accuracy {hits / n:.3f}")
with torch.no_grad():
    flagged = net(torch.tensor(X_test).float()).squeeze(1) > 0
print(f"flagged {int(flagged.sum())} of {len(flagged)} payments, recall of bad ones {recall_score(bad_test, flagged):.3f}")
