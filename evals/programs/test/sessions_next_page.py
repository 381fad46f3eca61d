"""Next page of a web session from the last three; reports accuracy after each epoch."""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

PAGES = 15


def sessions(n, transition):
    state = torch.randint(PAGES, (n,))
    walk = [state]
    for _ in range(3):
        state = torch.multinomial(transition[state], 1).squeeze(1)
        walk.append(state)
    walk = torch.stack(walk, 1)
    return walk[:, :3], walk[:, 3]


class NextPage(nn.Module):
    def __init__(self):
        super().__init__()
        self.pages = nn.Embedding(PAGES, 10)
        self.hidden = nn.Linear(30, 40)
        self.score = nn.Linear(40, PAGES)

    def forward(self, last):
        return self.score(torch.relu(self.hidden(self.pages(last).flatten(1))))


def accuracy(model, last, nxt):
    scores = model(last)
    #% if fault
    return (scores.argmax(0)[nxt] == nxt).float().mean().item()  #% here
    #% else
    return (scores.argmax(1) == nxt).float().mean().item()
    #% endif


torch.manual_seed(96)  #% seed
transition = torch.full((PAGES, PAGES), 0.01)
transition[torch.arange(PAGES), torch.randperm(PAGES)] = 1.0
train, test = sessions(2400, transition), sessions(600, transition)
model = NextPage()
opt = torch.optim.Adam(model.parameters(), lr=6e-3)
for epoch in range(5):
    for last, nxt in DataLoader(TensorDataset(*train), batch_size=60, shuffle=True):
        loss = nn.functional.cross_entropy(model(last), nxt)
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        print(f"epoch {epoch} loss {loss.item():.4f} accuracy {accuracy(model, *test):.3f}")
