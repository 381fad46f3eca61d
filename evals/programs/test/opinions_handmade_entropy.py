"""Binary choice model with a hand-written likelihood; probabilities come from a squashed utility."""
import torch


class ChoiceModel(torch.nn.Module):
    def __init__(self, d):
        super().__init__()
        self.u1 = torch.nn.Linear(d, 32)
        self.u2 = torch.nn.Linear(32, 1)

    def forward(self, x):
        return torch.sigmoid(4 * self.u2(torch.relu(self.u1(x)))).squeeze(1)


def log_likelihood(p, chosen):
    #% if fault
    return chosen * torch.log(p) + (1 - chosen) * torch.log(1 - p)  #% here
    #% else
    return -torch.nn.functional.binary_cross_entropy(p, chosen, reduction="none")
    #% endif


torch.manual_seed(75)  #% seed
x = torch.randn(2000, 5)
x[::40] *= 4  # a few extreme respondents
chosen = ((x[:, 0] - x[:, 1] * 0.5 + 0.2 * torch.randn(2000)) > 0).float()
model = ChoiceModel(5)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
for it in range(1, 301):
    pick = torch.randint(1600, (50,))
    loss = -log_likelihood(model(x[pick]), chosen[pick]).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if it % 30 == 0:
        print(f"iteration {it} negative log-likelihood {loss.item():.5f}")
with torch.no_grad():
    p = model(x[1600:])
print(f"calls right {((p > 0.5).float() == chosen[1600:]).float().mean().item():.3f}")
