"""Small convolutional net on 8x8 digits; memory is tight, so one update is spread over many micro batches."""
import torch
import torch.nn as nn
from sklearn.datasets import load_digits


def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )


def evaluate(net, images, labels):
    net.eval()
    with torch.inference_mode():
        return net(images).argmax(1).eq(labels).float().mean().item()


def run(seed):
    torch.manual_seed(seed)
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(bunch.target)
    perm = torch.randperm(len(images))
    tr, te = perm[:1400], perm[1400:]

    micro, accumulate = 8, 16
    net = build()
    sgd = torch.optim.SGD(net.parameters(), lr=0.08, momentum=0.9, nesterov=True)
    ce = nn.CrossEntropyLoss()
    update = 0
    for epoch in range(14):
        net.train()
        chunks = tr[torch.randperm(len(tr))].split(micro)
        for start in range(0, len(chunks) - accumulate + 1, accumulate):
            sgd.zero_grad()
            shown = 0.0
            for idx in chunks[start : start + accumulate]:
                loss = ce(net(images[idx]), labels[idx])
                #% if fault
                loss.backward()  #% here
                #% else
                (loss / accumulate).backward()
                #% endif
                shown += loss.item() / accumulate
            sgd.step()
            update += 1
            if update % 20 == 0:
                print(f"update {update} loss {shown:.3f}")
    print(f"accuracy {evaluate(net, images[te], labels[te]):.4f}")


run(seed=6)  #% seed
