"""Fill in masked symbols of structured sequences with a bidirectional encoder."""

import torch
from torch import nn

SYMBOLS, MASK, LENGTH = 8, 8, 12


def sequences(n):
    """Arithmetic progressions modulo the number of symbols."""
    start, stride = torch.randint(SYMBOLS, (n, 1)), torch.randint(1, SYMBOLS, (n, 1))
    return (start + stride * torch.arange(LENGTH)) % SYMBOLS


def hide(tokens, share=0.2):
    hidden = torch.rand(tokens.shape) < share
    return tokens.masked_fill(hidden, MASK), tokens.masked_fill(~hidden, -100)


class MaskedModel(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.token, self.place = nn.Embedding(SYMBOLS + 1, dim), nn.Embedding(LENGTH, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, SYMBOLS)

    def forward(self, tokens):
        return self.head(self.encoder(self.token(tokens) + self.place.weight))


def main():
    torch.manual_seed(0)  #% seed
    model = MaskedModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1, 301):
        tokens, labels = hide(sequences(48))
        logits = model(tokens)
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 30 == 0:
            scored = labels != -100
            accuracy = (logits.argmax(-1) == labels)[scored].float().mean().item()
            print(f"step {step} loss {loss.item():.4f} filled in well {accuracy:.3f}")


main()
