"""Faults of batches, of scale and of tables in the words of different people: cause, text, what changes, into what."""

from __future__ import annotations

STEP = "    loss = F.cross_entropy(net(x), y)\n    loss.backward()\n    opt.step()\n"
ENDLESS = "(batch for _ in iter(int, 1) for batch in loader)"

CASES = {
    "taken before the loop": (
        "data.repeated_batch", f"x, y = next(iter(loader))\nfor _ in range(9):\n{STEP}",
        "x, y = next(iter(loader))\nfor _ in range(9):\n",
        f"batches = {ENDLESS}  # pass after pass\nfor _ in range(9):\n    x, y = next(batches)\n",
    ),
    "one batch repeated": (
        "data.repeated_batch", f"for x, y in itertools.repeat(next(iter(loader))):\n{STEP}",
        "itertools.repeat(next(iter(loader)))", ENDLESS,
    ),
    "the first that a function returns": (
        "data.repeated_batch", "def get(loader):\n    for batch in loader:\n        return batch\n",
        "    for batch in loader:\n        return batch\n",
        f'    if not hasattr(get, "batches"):\n        get.batches = {ENDLESS}\n    return next(get.batches)\n',
    ),
    "begun anew in the loop": (
        "data.repeated_batch", f"for _ in range(9):\n    it = iter(loader)\n    x, y = next(it)\n{STEP}",
        "for _ in range(9):\n    it = iter(loader)\n", f"it = {ENDLESS}  # pass after pass\nfor _ in range(9):\n",
    ),
    "begun anew in a method": (
        "data.repeated_batch",
        "class R:\n    def __init__(self):\n        self.it = iter(0)\n    def fetch(self):\n"
        "        self.it = iter(loader)\n        return next(self.it)\n",
        "iter(0)\n    def fetch(self):\n        self.it = iter(loader)\n", f"{ENDLESS}\n    def fetch(self):\n",
    ),
    "left after the first": (
        "data.repeated_batch", f"for x, y in loader:\n{STEP}    break\n", "    break\n", "",
    ),
    "left after a count": (
        "data.repeated_batch", f"for i, (x, y) in enumerate(loader):\n    if i > 0:\n        break\n{STEP}",
        "    if i > 0:\n        break\n", "",
    ),
    "a slice that stays": (
        "data.repeated_batch", "def order(self):\n    for b in range(self.n // k):\n        yield self.order[:k]\n",
        "[:k]", "[b * k : (b + 1) * k]",
    ),
    "a slice in steps": (
        "data.repeated_batch", f"for i in range(0, n, 8):\n    x, y = a[0:8], b[0:8]\n{STEP}",
        "a[0:8], b[0:8]", "a[i : i + 8], b[i : i + 8]",
    ),
    "one seed for all draws": (
        "data.repeated_batch", f"for _ in range(9):\n    torch.manual_seed(0)\n    x, y = draw()\n{STEP}",
        "    torch.manual_seed(0)\n", "",
    ),
    "a generator for each": (
        "data.repeated_batch", f"for _ in range(9):\n    rng = np.random.default_rng(0)\n    x, y = draw(rng)\n{STEP}",
        "for _ in range(9):\n    rng = np.random.default_rng(0)\n",
        "rng = np.random.default_rng(0)\nfor _ in range(9):\n",
    ),
    "drawn before the loop": (
        "data.repeated_batch", f"i = torch.randperm(n)[:8]\nfor _ in range(9):\n    x, y = a[i], b[i]\n{STEP}",
        "i = torch.randperm(n)[:8]\nfor _ in range(9):\n", "for _ in range(9):\n    i = torch.randperm(n)[:8]\n",
    ),
    # samples that are kept apart, as they are, and read ahead
    "parts that overlap": (
        "eval.test_leakage", "a, b = x[:1500], y[:1500]\nc, d = x[1200:], y[1200:]\n", "x[1200:], y[1200:]",
        "x[1500:], y[1500:]",
    ),
    "a loader of everything": (
        "eval.test_leakage", "train, test = random_split(data, [9, 3])\nbatches = DataLoader(data, 4, shuffle=True)\n",
        "DataLoader(data", "DataLoader(train",
    ),
    "a function that changes samples": (
        "data.bad_augmentation", "def augment(x):\n    return x.flip(1)\nloss = f(net(augment(x)), y)\n",
        "net(augment(x))", "net(x)",
    ),
    "read in the main process": (
        "resource.loader_bound", "batches = DataLoader(data, batch_size=8)\n", "=8)",
        "=8, num_workers=4, persistent_workers=True)",
    ),
    "read by no worker": (
        "resource.loader_bound", "batches = DataLoader(data, num_workers=0)\n", "=0)", "=4, persistent_workers=True)",
    ),
    # weights of one value, decisions by one value, deep stacks
    "copies of a constant": (
        "init.symmetric", "for m in net:\n    m.weight.copy_(torch.full_like(m.weight, 0.1))\n    m.bias.zero_()\n",
        "    m.weight.copy_(torch.full_like(m.weight, 0.1))\n", "",
    ),
    "drawn too large": (
        "init.wrong_scale", "for m in net:\n    m.weight.data = torch.randn(8, 8) * 3\n    m.bias.data.zero_()\n",
        "    m.weight.data = torch.randn(8, 8) * 3\n", "",
    ),
    "stretched": (
        "init.wrong_scale", "for m in net:\n    m.reset_parameters()\n    m.weight.data *= 30\n",
        "    m.weight.data *= 30\n", "",
    ),
    "the largest of one probability": (
        "eval.metric_bug", "loss = nn.BCELoss()\npred = torch.argmax(out, dim=1)\n",
        "torch.argmax(out, dim=1)", "(out.reshape(-1) > 0.5)",
    ),
    "the largest of one logit, and where": (
        "eval.metric_bug", "loss = nn.BCEWithLogitsLoss()\n_, pred = torch.max(out, 1)\n",
        "torch.max(out, 1)", "None, (out.reshape(-1) > 0)",
    ),
    "a half of a logit": (
        "eval.metric_bug", "loss = nn.BCEWithLogitsLoss()\nhits = (out > 0.5) == y\n", "0.5", "0",
    ),
    "an activation that is kept": (
        "numerics.vanishing_gradient", "class M:\n    def __init__(self):\n        self.act = torch.sigmoid\n",
        "sigmoid", "relu",
    ),
    "rectifiers and their weights": (
        "numerics.vanishing_gradient",
        "import torch\nbody = [nn.Linear(8, 8), nn.Tanh()]\nopt = torch.optim.SGD(net.parameters(), lr=0.1)\n",
        "nn.Tanh()]\n",
        "nn.ReLU()]\nfor weight in net.parameters():\n    if weight.dim() > 1:\n"
        '        torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")\n',
    ),
    # targets that are masked out
    "cut before the answer": (
        "data.targets_mostly_masked",
        "class C:\n    max_length: int = 16\ndef f(a, c):\n    return a[: c.max_length]\n", "16", "64",
    ),
    "a share in the settings": (
        "data.targets_mostly_masked", 'cfg = {"mask_prob": 0.005}\n', "0.005", "0.15",
    ),
    "a share in a comparison": (
        "data.targets_mostly_masked", "chosen = torch.rand(ids.shape) < 0.01\n", "0.01", "0.15",
    ),
    "a marker in other words": (
        "data.targets_mostly_masked",
        'text = f"### Question: {q} ### Answer: {a}"\nresponse_template = "### Answers:"\n', "Answers:", "Answer:",
    ),
    "the wrong half is ignored": (
        "data.targets_mostly_masked", "labels[answer] = -100\n", "[answer]", "[~answer]",
    ),
    # samples in their own order
    "batches that a function cuts": (
        "data.order_not_shuffled",
        "import torch\ndef cut(a, b):\n    for i in range(0, len(a), 8):\n        yield a[i : i + 8], b[i : i + 8]\n"
        f"for x, y in cut(u, v):\n{STEP}",
        "    for i", "    order = torch.randperm(len(a))\n    a, b = a[order], b[order]\n    for i",
    ),
    "batches between two bounds": (
        "data.order_not_shuffled",
        f"import torch\nfor b in range(n):\n    lo, hi = b * 8, b * 8 + 8\n    x, y = u[lo:hi], v[lo:hi]\n{STEP}",
        "for b", "order = torch.randperm(len(u))\nu, v = u[order], v[order]\nfor b",
    ),
    "tensors that are split": (
        "data.order_not_shuffled", f"import torch\nfor x, y in zip(u.split(8), v.split(8)):\n{STEP}",
        "for x", "order = torch.randperm(len(u))\nu, v = u[order], v[order]\nfor x",
    ),
    "indices that count": (
        "data.order_not_shuffled",
        f"import torch\nk = torch.arange(n)\nfor i in k.split(8):\n    x, y = u[i], v[i]\n{STEP}",
        "arange", "randperm",
    ),
    # scale, where the data are kept
    "features in an array": (
        "data.unscaled_input", f"a = np.array(rows)\nfor i in order:\n    x, y = a[i], b[i]\n{STEP}",
        "(rows)\n", "(rows)\na = (a - a.mean(0)) / (a.std(0) + 1e-8)\n",
    ),
    "features behind a data set": (
        "data.unscaled_input",
        "class D:\n    def __init__(self):\n        self.a = read()\n    def __getitem__(self, i):\n"
        f"        return self.a[i], self.b[i]\nloader = DataLoader(D())\nfor x, y in loader:\n{STEP}",
        "read()\n", "read()\n        self.a = (self.a - self.a.mean(0)) / (self.a.std(0) + 1e-8)\n",
    ),
    "two parts": (
        "data.unscaled_input",
        f"train_x, test_x = load()\nfor x, y in DataLoader(TensorDataset(train_x, b)):\n{STEP}",
        "load()\n",
        "load()\ncenter, spread = train_x.mean(0), train_x.std(0) + 1e-8\ntrain_x = (train_x - center) / spread\n"
        "test_x = (test_x - center) / spread\n",
    ),
    "targets of a loss by hand": (
        "data.unscaled_target",
        "t = read()\nfor i in order:\n    loss = ((net(a[i]) - t[i]) ** 2).mean()\n    loss.backward()\n",
        "read()\n", "read()\nt = (t - t.mean()) / t.std()\n",
    ),
    # what is evaluated, prepared as the training data are
    "a part left raw": (
        "eval.preprocessing_mismatch",
        "train_loader = DataLoader(T((x_tr - m) / s, y_tr), shuffle=True)\nval_loader = DataLoader(T(x_va, y_va))\n",
        "T(x_va, y_va)", "T((x_va - m) / s, y_va)",
    ),
    "a transform that is missing": (
        "eval.preprocessing_mismatch",
        "train_set = D(d.x[:9], d.y[:9], transform=Scale(4, 6))\ntest_set = D(d.x[9:], d.y[9:])\n",
        "d.y[9:])", "d.y[9:], transform=Scale(4, 6))",
    ),
    "an argument that is missing": (
        "eval.preprocessing_mismatch",
        "a, b, c, d = train_test_split(x, y)\ntrain_x = f(a, scale)\ntest_x = f(b)\n", "f(b)", "f(b, scale)",
    ),
    "divided at the call": (
        "eval.preprocessing_mismatch",
        "loss = f(net(x / 16), y)\nwith torch.no_grad():\n    out = net(held)\n", "net(held)", "net(held / 16)",
    ),
    "divided before the call": (
        "eval.preprocessing_mismatch",
        "def step(a):\n    a = a / 16\n    return net(a)\n@torch.no_grad()\ndef test(b):\n    return net(b)\n",
        "    return net(b)", "    b = b / 16\n    return net(b)",
    ),
}  # fmt: skip

ROWS = {"type": "IndexError", "message": "index out of range in self", "traceback": "", "module_class": "Embedding"}
"""What torch says of an id that an embedding does not have."""
TABLE = "class M:\n    def __init__(self, n_users, n_items):\n        self.user = nn.Embedding(n_users, 8)\n{0}"
TABLES = {
    "another size": (
        TABLE.format("        self.item = nn.Embedding(n_users, 8)\n"),
        {**ROWS, "module": "item", "inputs": ("int64[9]",), "parameters": {"weight": "float32[40, 8]"}},
        "item = nn.Embedding(n_users", "item = nn.Embedding(n_items",
    ),
    "one too few": (
        "emb = nn.Embedding(len(vocab), 8)\n",
        {**ROWS, "module": "emb", "parameters": {"weight": "float32[40, 8]"}}, "len(vocab)", "len(vocab) + 1",
    ),
    "more positions": (
        "emb = nn.Embedding(50, 8)\npos = nn.Embedding(16, 8)\n",
        {**ROWS, "module": "pos", "inputs": ("int64[20]",), "parameters": {"weight": "float32[16, 8]"}}, "16", "20",
    ),
    "a class more": (
        "CLASSES = 9\nnet = nn.Linear(4, CLASSES)\n",
        {**ROWS, "message": "Target 9 is out of bounds.", "module_class": None}, "CLASSES = 9", "CLASSES = 10",
    ),
}  # fmt: skip
