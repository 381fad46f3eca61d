"""Read a code of ten symbols; the first one says which of five departments it belongs to."""

import torch
from torch import nn

SYMBOLS, LENGTH = 5, 10


class Reader(nn.Module):
    def __init__(self, dim=32, heads=4):
        super().__init__()
        self.token_embedding = nn.Embedding(SYMBOLS + 1, dim)
        self.position_embedding = nn.Embedding(LENGTH + 1, dim)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(dim, heads, 64, dropout=0.0, batch_first=True), num_layers=1, enable_nested_tensor=False
        )
        self.department = nn.Linear(dim, SYMBOLS)

    def forward(self, codes):
        summary = torch.full((len(codes), 1), SYMBOLS)
        tokens = torch.cat([summary, codes], dim=1)
        positions = self.position_embedding(torch.arange(tokens.shape[1]))
        #% if fault
        hidden = self.token_embedding(tokens)  #% here
        #% else
        hidden = self.token_embedding(tokens) + positions
        #% endif
        return self.department(self.encoder(hidden)[:, 0])


def main():
    torch.manual_seed(0)  #% seed
    codes = torch.randint(SYMBOLS, (1500, LENGTH))
    department = codes[:, 0]
    train, test = slice(0, 1200), slice(1200, None)
    reader = Reader()
    optimizer = torch.optim.Adam(reader.parameters(), lr=4e-3)
    for step in range(1, 251):
        rows = torch.randint(1200, (48,))
        loss = nn.functional.cross_entropy(reader(codes[train][rows]), department[train][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            with torch.no_grad():
                accuracy = (reader(codes[test]).argmax(1) == department[test]).float().mean().item()
            print(f"step {step} loss {loss.item():.4f} test accuracy {accuracy:.3f}")


main()
