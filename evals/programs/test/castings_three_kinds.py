"""Three kinds of casting: good, porous, cracked, with class weights from their counts."""
import torch
from torch import nn

torch.manual_seed(4)  #% seed
counts = torch.tensor([1500, 180, 120])
centres = 1.6 * torch.eye(3, 8)
kind = torch.repeat_interleave(torch.arange(3), counts)
x = centres[kind] + 1.0 * torch.randn(len(kind), 8)
test_kind = torch.randint(3, (600,))
test_x = centres[test_kind] + 1.0 * torch.randn(600, 8)

freq = torch.bincount(kind).float() / len(kind)
#% if fault
weight = freq / freq.sum() * 3  #% here
#% else
weight = 1 / freq
weight = weight / weight.sum() * 3
#% endif
criterion = nn.CrossEntropyLoss(weight=weight)
net = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Linear(16, 3))
opt = torch.optim.Adam(net.parameters(), lr=3e-3, amsgrad=True)
for epoch in range(6):
    for rows in torch.randperm(len(kind)).split(60):
        loss = criterion(net(x[rows]), kind[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
    with torch.no_grad():
        guess = net(test_x).argmax(1)
        recall = [((guess == k) & (test_kind == k)).sum().item() / (test_kind == k).sum().item() for k in range(3)]
    print(f"epoch {epoch} loss {loss.item():.3f} recalls {[round(r, 3) for r in recall]} lowest {min(recall):.3f}")
