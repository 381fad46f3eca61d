"""Faults of losses and data in the words of different people: cause, text, what changes, into what."""

from __future__ import annotations

TRAIN = "import torch\nfor x, y in loader:\n    {0}\n    loss.backward()\n    opt.step()\n"

CASES = {
    # sums that were meant to be means
    "a mean times the batch": (
        "loss.reduction_scale", TRAIN.format("loss = criterion(net(x), y) * len(x)"), " * len(x)", "",
    ),
    "a factor out of the settings": (
        "loss.reduction_scale", TRAIN.format("loss = cfg['scale'] * F.mse_loss(net(x), y)"), "cfg['scale'] * ", "",
    ),
    "terms added up in a loop": (
        "loss.reduction_scale",
        TRAIN.format("loss = 0\n    for k in range(T):\n        loss = loss + f(out[k], y[k])"),
        "f(out[k], y[k])\n", "f(out[k], y[k])\n    loss = loss / T\n",
    ),
    "terms added in place": (
        "loss.reduction_scale",
        TRAIN.format("loss = 0\n    for a, b in zip(net(x), y):\n        loss += f(a, b)"),
        "+= f(a, b)\n", "+= f(a, b)\n    loss = loss / len(y)\n",
    ),
    "a sum over a list of terms": (
        "loss.reduction_scale", TRAIN.format("loss = sum(f(a, b) for a, b in zip(net(x), y))"),
        "sum(f(a, b) for a, b in zip(net(x), y))", "torch.stack([f(a, b) for a, b in zip(net(x), y)]).mean()",
    ),
    "a function that sums": (
        "loss.reduction_scale",
        "def cost(p, y):\n    each = (p - y) ** 2\n    return torch.sum(each)\n"
        + TRAIN.format("loss = cost(net(x), y)"),
        "torch.sum(each)", "torch.mean(each)",
    ),
    "an option of the settings": (
        "loss.reduction_scale",
        'cfg = {"reduction": "sum"}\nf = nn.MSELoss(reduction=cfg["reduction"])\n',
        '"reduction": "sum"', '"reduction": "mean"',
    ),
}  # fmt: skip

PADDED = {"function": "cross_entropy", "padding": {"value": 3, "tail_share": 0.4}}
"""What the recorder tells of a loss whose targets end in the id 3."""

PADDINGS = {
    "a constant of the module": ("PAD = 3\nloss = F.cross_entropy(out, y)\n", "out, y)", "out, y, ignore_index=PAD)"),
    "a function of that name": (
        "def pad(x):\n    return x + [3]\nloss = F.cross_entropy(out, y)\n", "out, y)", "out, y, ignore_index=3)",
    ),
    "a name out of reach": (
        "def make():\n    pad_id = 3\n    return pad_id\ndef step(out, y):\n    return F.cross_entropy(out, y)\n",
        "out, y)\n", "out, y, ignore_index=3)\n",
    ),
    "another number of that name": (
        "pad = 1\ncriterion = nn.CrossEntropyLoss()\n", "Loss()", "Loss(ignore_index=3)",
    ),
    "a function under another name": (
        "from torch.nn.functional import cross_entropy as ce\nloss = ce(out, y)\n", "out, y)",
        "out, y, ignore_index=3)",
    ),
}  # fmt: skip
