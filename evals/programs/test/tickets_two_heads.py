"""Support tickets: one encoder, two heads (urgency and team), rows come as dictionaries."""
import random

import torch
import torch.nn as nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

TEAMS, WORDS, LENGTH = 5, 120, 12
MODEL_FIELDS = ("tokens", "urgent", "team")


def write_ticket(rng):
    team, urgent = rng.randrange(TEAMS), rng.randrange(2)
    tokens = []
    for _ in range(LENGTH):
        roll = rng.random()
        if roll < 0.3:
            tokens.append(20 + team * 20 + rng.randrange(20))
        elif roll < 0.5:
            tokens.append(10 * urgent + rng.randrange(10))
        else:
            tokens.append(rng.randrange(WORDS))
    #% if fault
    return {"tokens": tokens, "urgent": urgent, "team_id": team, "channel": rng.choice(["mail", "phone"])}  #% here
    #% else
    return {"tokens": tokens, "urgent": urgent, "team": team, "channel": rng.choice(["mail", "phone"])}
    #% endif


def collate(rows):
    batch = {"tokens": torch.tensor([r["tokens"] for r in rows])}
    for field in MODEL_FIELDS[1:]:
        batch[field] = torch.tensor([r.get(field, -100) for r in rows])  #% here
    return batch


class TicketModel(nn.Module):
    def __init__(self, dim=24):
        super().__init__()
        self.embed = nn.Embedding(WORDS, dim)
        self.encoder = nn.Sequential(nn.Linear(dim, 48), nn.ReLU())
        self.urgent_head = nn.Linear(48, 2)
        self.team_head = nn.Linear(48, TEAMS)

    def forward(self, tokens):
        h = self.encoder(self.embed(tokens).mean(1))
        return self.urgent_head(h), self.team_head(h)


def masked_ce(logits, target):
    total = cross_entropy(logits, target, ignore_index=-100, reduction="sum")
    return total / (target != -100).sum().clamp(min=1)


def main(seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tickets = [write_ticket(rng) for _ in range(2000)]
    loader = DataLoader(tickets[:1600], batch_size=40, shuffle=True, collate_fn=collate)
    model = TicketModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for epoch in range(1, 7):
        for batch in loader:
            urgent, team = model(batch["tokens"])
            loss = masked_ce(urgent, batch["urgent"]) + masked_ce(team, batch["team"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.4f}")
    with torch.no_grad():
        urgent, team = model(torch.tensor([t["tokens"] for t in tickets[1600:]]))
    gold = torch.tensor([t.get("team", t.get("team_id", -1)) for t in tickets[1600:]])
    print("urgency accuracy", (urgent.argmax(1) == torch.tensor([t["urgent"] for t in tickets[1600:]])).float().mean().item())
    print("team accuracy", (team.argmax(1) == gold).float().mean().item())


if __name__ == "__main__":
    main(9)  #% seed
