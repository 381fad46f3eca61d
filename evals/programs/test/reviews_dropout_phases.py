"""Topic of short documents with few labelled examples; training and validation share one function."""
import torch
from torch import nn


class Docs(nn.Module):
    def __init__(self, vocab, topics):
        super().__init__()
        self.words = nn.EmbeddingBag(vocab, 64, mode="mean")
        self.block = nn.Sequential(nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5))
        self.topic = nn.Linear(64, topics)

    def forward(self, docs):
        return self.topic(self.block(self.words(docs)))


def corpus(n, vocab=400, topics=8):
    topic = torch.randint(topics, (n,))
    docs = torch.randint(vocab, (n, 14))
    own = topic[:, None] * 40 + torch.randint(40, (n, 14))
    return torch.where(torch.rand(n, 14) < 0.3, own, docs), topic


def phase(model, data, opt=None):
    docs, topic = data
    loss_sum = right = 0.0
    for idx in torch.randperm(len(topic)).split(32):
        logits = model(docs[idx])
        loss = nn.functional.cross_entropy(logits, topic[idx])
        if opt is not None:
            opt.zero_grad()
            loss.backward()
            opt.step()
        loss_sum += loss.item() * len(idx)
        right += (logits.argmax(1) == topic[idx]).sum().item()
    return loss_sum / len(topic), right / len(topic)


def main():
    torch.manual_seed(73)  #% seed
    train, valid = corpus(480), corpus(600)
    model = Docs(400, 8)
    opt = torch.optim.Adam(model.parameters(), lr=3e-3)
    #% if fault
    model.train()  #% here
    #% endif
    for epoch in range(24):
        #% if fault
        #% else
        model.train()
        #% endif
        tl, ta = phase(model, train, opt)
        model.eval()
        with torch.no_grad():
            vl, va = phase(model, valid)
        if epoch % 4 == 3:
            print(f"epoch {epoch + 1} train loss {tl:.3f} acc {ta:.3f} valid loss {vl:.3f} acc {va:.3f}")


main()
