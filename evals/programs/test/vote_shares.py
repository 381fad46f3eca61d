"""Learning from vote shares: several raters voted on each item, the net predicts the distribution of votes."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(30)  #% seed
items = torch.randn(2000, 10)
teacher = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 6))
with torch.no_grad():
    opinion = (6 * teacher(items)).softmax(1)
    votes = torch.distributions.Multinomial(12, opinion).sample() / 12

model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 6))
criterion = nn.KLDivLoss(reduction="batchmean")
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
train = DataLoader(TensorDataset(items[:1600], votes[:1600]), batch_size=64, shuffle=True)


def run_epoch(number):
    running = 0.0
    for x, share in train:
        #% if fault
        predicted = torch.softmax(model(x), dim=1)  #% here
        #% else
        predicted = torch.log_softmax(model(x), dim=1)
        #% endif
        loss = criterion(predicted, share)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += loss.item()
    print(f"epoch {number} kl {running / len(train):.4f}")


for number in range(10):
    run_epoch(number)
with torch.no_grad():
    guess = model(items[1600:]).softmax(1)
    distance = 0.5 * (guess - opinion[1600:]).abs().sum(1).mean()
print(f"total variation to the true opinions {distance.item():.3f}")
