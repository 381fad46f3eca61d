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
    "a mean multiplied in place": (
        "loss.reduction_scale", TRAIN.format("loss = criterion(net(x), y)\n    loss *= x.size(0)"),
        "    loss *= x.size(0)\n", "",
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
    # branches that are computed and hidden
    "a root under where": (
        "numerics.masked_branch_nan", "def f(h):\n    ok = h > 0\n    return torch.where(ok, torch.sqrt(h), h)\n",
        "torch.sqrt(h)", "torch.sqrt(torch.where(ok, h, torch.ones_like(h)))",
    ),
    "the second branch": (
        "numerics.masked_branch_nan", "def f(v):\n    return torch.where(v == 0, 0.0, v.log())\n",
        "v.log()", "torch.where(~(v == 0), v, torch.ones_like(v)).log()",
    ),
    "a divisor, and a mask that comes later": (
        "numerics.masked_branch_nan",
        "def f(a, b):\n    q = a / b\n    empty = b == 0\n    return q.masked_fill(empty, 0.0)\n",
        "a / b", "a / torch.where(~(b == 0), b, torch.ones_like(b))",
    ),
    "entries that are set": (
        "numerics.masked_branch_nan", "def f(d2, eye):\n    d = d2.sqrt()\n    d[eye] = 0.0\n    return d\n",
        "d2.sqrt()", "torch.where(~(eye), d2, torch.ones_like(d2)).sqrt()",
    ),
    # targets that are shifted
    "shifted in the model, too": (
        "data.label_shift_error",
        "def loss(logits, labels):\n    a = logits[..., :-1, :].contiguous()\n    b = labels[..., 1:].contiguous()\n"
        "    return ce(a, b)\n",
        "logits[..., :-1, :].contiguous()\n    b = labels[..., 1:]", "logits.contiguous()\n    b = labels",
    ),
    "all but the last by their number": (
        "data.label_shift_error",
        "def f(out, ids):\n    n = out.shape[1] - 1\n    return ce(out[:, :n].flatten(0, 1), ids[:, 1:].flatten())\n",
        "out[:, :n].flatten(0, 1), ids[:, 1:]", "out.flatten(0, 1), ids",
    ),
    "two positions on": (
        "data.label_shift_error", "x = ids[i : i + n]\ny = ids[i + 2 : i + n + 2]\n",
        "i + 2 : i + n + 2", "i + 1 : i + n + 1",
    ),
    "rolled by two": ("data.label_shift_error", "y = torch.roll(ids, -2, 1)\n", "-2", "-1"),
    # features and targets that are moved apart
    "shuffled one after the other": (
        "data.label_misaligned", "np.random.shuffle(x)\nnp.random.shuffle(y)\n",
        "np.random.shuffle(x)\nnp.random.shuffle(y)\n",
        "order = np.random.permutation(len(x))\nx[:], y[:] = x[order], y[order]\n",
    ),
    "two lists": (
        "data.label_misaligned", "random.shuffle(a)\nrandom.shuffle(b)\n", "random.shuffle(a)\nrandom.shuffle(b)\n",
        "order = random.sample(range(len(a)), len(a))\na[:], b[:] = [a[i] for i in order], [b[i] for i in order]\n",
    ),
    "shuffled by scikit-learn": (
        "data.label_misaligned", "a = shuffle(x, random_state=0)\nb = shuffle(y, random_state=1)\n",
        "a = shuffle(x, random_state=0)\nb = shuffle(y, random_state=1)\n", "a, b = shuffle(x, y, random_state=0)\n",
    ),
    "two draws under two names": (
        "data.label_misaligned", "i = torch.randperm(n)\nj = torch.randperm(n)\nx, y = a[i], b[j]\n", "b[j]", "b[i]",
    ),
    "batches drawn twice": (
        "data.label_misaligned", "xb = a[torch.randint(0, n, (8,))]\nyb = b[torch.randint(0, n, (8,))]\n",
        "xb = a[torch.randint(0, n, (8,))]\nyb = b[torch.randint(0, n, (8,))]\n",
        "order = torch.randint(0, n, (8,))\nxb = a[order]\nyb = b[order]\n",
    ),
    "split apart": (
        "data.label_misaligned",
        "a, b = train_test_split(x, random_state=0)\nc, d = train_test_split(y, random_state=1)\n",
        "random_state=1", "random_state=0",
    ),
    "a neighbour's label": (
        "data.label_misaligned", "class D:\n    def __getitem__(self, i):\n        return self.x[i], self.y[i - 1]\n",
        "[i - 1]", "[i]",
    ),
    "cut to the length of what was filtered": (
        "data.label_misaligned", "x = x[good]\ny = y[: len(x)]\n", "y[: len(x)]", "y[good]",
    ),
    "labels that are rolled": ("data.label_misaligned", "y = np.roll(y, 1)\n", "np.roll(y, 1)", "y"),
    "filtered alone": (
        "data.label_misaligned", "x, y = load()\nx = x[good]\ndata = TensorDataset(x, y)\n", "x[good]\n",
        "x[good]\ny = y[good]\n",
    ),
    "a partner thrown away": ("data.label_misaligned", "X, _ = shuffle(X, y)\n", "X, _", "X, y"),
    "frames with states of their own": (
        "data.label_misaligned", "a = a.sample(frac=1, random_state=0)\nb = b.sample(frac=1, random_state=1)\n",
        "random_state=1", "random_state=0",
    ),
    "loaders of their own": (
        "data.label_misaligned",
        "a = DataLoader(x, shuffle=True)\nb = DataLoader(y, shuffle=True)\nfor x, y in zip(a, b):\n    f(x, y)\n",
        "a = DataLoader(x, shuffle=True)\nb = DataLoader(y, shuffle=True)\nfor x, y in zip(a, b)",
        "a = DataLoader(list(zip(x, y)), shuffle=True)\nfor x, y in a",
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
