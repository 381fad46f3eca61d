"""Language model of a noisy symbol source: every symbol depends on the two before it, and on chance."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SYMBOLS = 6


def source(rng):
    table = rng.dirichlet(0.7 * np.ones(SYMBOLS), size=(SYMBOLS, SYMBOLS))
    entropy = -(table * np.log(table + 1e-12)).sum(-1)
    return table, entropy


def stream(table, n, rng):
    a, b, out = 0, 0, []
    for _ in range(n):
        a, b = b, rng.choice(SYMBOLS, p=table[a, b])
        out.append(b)
    return np.array(out)


def main():
    torch.manual_seed(0)  #% seed
    rng = np.random.default_rng(0)  #% seed
    table, entropy = source(rng)
    text = stream(table, 6000, rng)
    floor = entropy[text[:-1], text[1:]].mean()
    windows = torch.tensor(text[: 6000 // 21 * 21].reshape(-1, 21))
    loader = DataLoader(TensorDataset(windows), batch_size=24, shuffle=True)
    embed, rnn, head = nn.Embedding(SYMBOLS, 16), nn.LSTM(16, 32, batch_first=True), nn.Linear(32, SYMBOLS)
    parameters = [*embed.parameters(), *rnn.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for epoch in range(12):
        losses = []
        for (window,) in loader:
            logits = head(rnn(embed(window[:, :-1]))[0])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch} loss {np.mean(losses):.4f} entropy of the source {floor:.4f} above {np.mean(losses) - floor:.4f}")


main()
