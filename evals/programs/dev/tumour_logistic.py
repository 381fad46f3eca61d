# %% Breast cancer: network with a hand-written likelihood
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

torch.manual_seed(0)  #% seed

# %% Data
features, malignant = load_breast_cancer(return_X_y=True)
f_train, f_test, m_train, m_test = train_test_split(features, malignant, test_size=0.2, random_state=2)
scale = StandardScaler().fit(f_train)
f_train = torch.tensor(scale.transform(f_train), dtype=torch.float32)
f_test = torch.tensor(scale.transform(f_test), dtype=torch.float32)
m_train = torch.tensor(m_train, dtype=torch.float32)
m_test = torch.tensor(m_test, dtype=torch.float32)

# %% Model
net = torch.nn.Sequential(
    torch.nn.Linear(30, 32),
    torch.nn.ReLU(),
    torch.nn.Linear(32, 1),
)
optim = torch.optim.Adam(net.parameters(), lr=0.02)


def likelihood_loss(logit, target):
    p = torch.sigmoid(logit)
    #% if fault
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()  #% here
    #% else
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()
    #% endif


# %% Training
for epoch in range(40):
    total, count = 0.0, 0
    for rows in torch.randperm(len(f_train)).split(48):
        loss = likelihood_loss(net(f_train[rows]).squeeze(1), m_train[rows])
        optim.zero_grad()
        loss.backward()
        optim.step()
        total += loss.item() * len(rows)
        count += len(rows)
    if epoch % 5 == 4:
        with torch.no_grad():
            hit = ((net(f_test).squeeze(1) > 0).float() == m_test).float().mean()
        print(f"epoch {epoch + 1} loss {total / count:.5f} accuracy {hit:.3f}")
