# Which of two markers comes last in a long sequence of distractors?
import torch
from torch import nn

LENGTH, VOCAB = 20, 8
MARK_A, MARK_B = 6, 7


def sequences(n):
    tokens = torch.randint(0, 6, (n, LENGTH))
    where = torch.stack([torch.randperm(LENGTH - 1)[:2] + 1 for _ in range(n)])
    tokens[torch.arange(n), where[:, 0]] = MARK_A
    tokens[torch.arange(n), where[:, 1]] = MARK_B
    return tokens, (where[:, 1] > where[:, 0]).long()


class SequenceClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 12)
        self.lstm = nn.LSTM(12, 24)
        self.fc = nn.Linear(24, 2)

    def forward(self, tokens):
        embedded = self.embedding(tokens.t())
        outputs, (h, c) = self.lstm(embedded)
        #% if fault
        return self.fc(outputs[0])  #% here
        #% else
        return self.fc(outputs[-1])
        #% endif


torch.manual_seed(0)  #% seed
x, y = sequences(2000)
x_test, y_test = sequences(400)
model = SequenceClassifier()
opt = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(8):
    hits, total_loss = 0, 0.0
    for idx in torch.randperm(len(x)).split(64):
        out = model(x[idx])
        loss = nn.functional.cross_entropy(out, y[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        hits += (out.argmax(1) == y[idx]).sum().item()
        total_loss += loss.item() * len(idx)
    print("epoch", epoch, "loss", round(total_loss / len(x), 4), "train acc", round(hits / len(x), 3))
with torch.no_grad():
    print("test acc", (model(x_test).argmax(1) == y_test).float().mean().item())
