"""Faults of ranks, modules, copies, samples and of how a run is steered: cause, text, what changes, into what."""

from __future__ import annotations

COUNTS = ("confusion", 9, {"grad": True, "table": [[90, 0], [10, 0]]}, None)
UNTIED = ("load_state_dict", 1, {"untied": [["emb.weight", "head.weight"]], "missing": ["head.weight"]}, None)
CLASS = "import torch\nclass M:\n    def __init__(self):\n        "
METER = "class Mean:\n    def reset(self):\n        self.n = 0\n    def update(self, x):\n        self.n += x\n"

CASES = {
    # ranks
    "the module in the wrapper": (
        "ddp.forward_bypasses_wrapper", "ddp = DDP(net)\nout = ddp.module(x)\n", "ddp.module(x)", "ddp(x)",
    ),
    "the model that was wrapped": (
        "ddp.forward_bypasses_wrapper", "ddp = DDP(net)\nloss = f(net(x), y)\n", "f(net(x)", "f(ddp(x)",
    ),
    "a head behind the wrapper": (
        "ddp.hooks_lost_after_move",
        "net = Net()\nddp = DDP(net, find_unused_parameters=True)\nnet.head = nn.Linear(2, 3)\n",
        "net.head = nn.Linear(2, 3)\n",
        "net.head = nn.Linear(2, 3)\nddp = DDP(ddp.module, find_unused_parameters=True)\n",
    ),
    "a sum over ranks": (
        "ddp.wrong_grad_scale", "for p in m.parameters():\n    dist.all_reduce(p.grad)\n", "p.grad)\n",
        "p.grad)\n    p.grad.div_(dist.get_world_size())\n",
    ),
    "some parameters alone": (
        "ddp.replicated_param_diverges",
        'for n, p in m.named_parameters():\n    if "norm" not in n:\n        dist.all_reduce(p.grad)\n',
        '"norm" not in n', "p.grad is not None",
    ),
    "a shuffled loader for all": (
        "ddp.same_data_on_ranks", "import torch\nloader = DataLoader(data, batch_size=4, shuffle=True)\n",
        "shuffle=True", "sampler=torch.utils.data.DistributedSampler(data)",
    ),
    "a sampler without epochs": (
        "ddp.set_epoch_missing",
        "loader = DataLoader(data, sampler=s)\nfor epoch in range(3):\n    for i, x in enumerate(loader):\n"
        "        f(x)\n",
        "    for i", "    loader.sampler.set_epoch(epoch)\n    for i",
    ),
    "nothing is averaged": (
        "ddp.never_synchronised", "import torch\nloss.backward()\nopt.step()\n", "opt.step()\n",
        "for group in opt.param_groups:\n    for parameter in group[\"params\"]:\n"
        "        if parameter.grad is not None:\n            torch.distributed.all_reduce(parameter.grad)\n"
        "            parameter.grad.div_(torch.distributed.get_world_size())\nopt.step()\n",
    ),
    # modules
    "a constant that stays behind": (
        "device.mismatch",
        f"{CLASS}self.scale = torch.ones(3)\n    def forward(self, x):\n        return x * self.scale\n",
        "self.scale = torch.ones(3)", 'self.register_buffer("scale", torch.ones(3))',
    ),
    "a tensor made in forward": (
        "device.mismatch",
        f"{CLASS}self.n = 3\n    def forward(self, x):\n        return x + torch.arange(3)\n",
        "arange(3)", "arange(3, device=x.device)",
    ),
    "a parameter of a parameter": (
        "graph.param_recreated_each_forward",
        f"{CLASS}self.w = nn.Parameter(v)\n    def forward(self, x):\n        w = nn.Parameter(self.w.data.clone())\n"
        "        return w * x\n",
        "nn.Parameter(self.w.data.clone())", "self.w",
    ),
    "a layer made in forward": (
        "graph.param_recreated_each_forward",
        f"{CLASS}self.a = 1\n    def forward(self, x):\n        return nn.Linear(8, 4)(x)\n",
        "self.a = 1\n    def forward(self, x):\n        return nn.Linear(8, 4)(x)",
        "self.a = 1\n        self.linear_made_once = nn.Linear(8, 4)\n    def forward(self, x):\n"
        "        return self.linear_made_once(x)",
    ),
    "positions that nobody adds": (
        "model.no_position_signal",
        "class M:\n    def forward(self, t):\n        p = self.pos(where)\n        return self.enc(self.tok(t))\n",
        "self.tok(t)", "self.tok(t) + p",
    ),
    "a table of positions that nobody asks": (
        "model.no_position_signal",
        "class M:\n    def __init__(self):\n        self.pos = nn.Embedding(9, 8)\n"
        "    def forward(self, t):\n        return self.enc(self.tok(t))\n",
        "self.tok(t)", "self.tok(t) + self.pos(torch.arange(t.shape[1], device=t.device))",
    ),
    "a width factor": ("model.capacity_bottleneck", "width_mult = 0.1\n", "0.1", "1.0"),
    # copies
    "tied again by name": (
        "artifact.tied_weights_lost", "m.load_state_dict(s, strict=False)\n", "m.load",
        "m.head.weight = m.emb.weight\nm.load",
    ),
    "tied again by its own method": (
        "artifact.tied_weights_lost",
        "class M:\n    def tie_weights(self):\n        self.a = self.b\nm.load_state_dict(s, strict=False)\n",
        "m.load", "m.tie_weights()\nm.load",
    ),
    "the average is not saved": (
        "artifact.ema_or_wrong_copy_saved",
        "ema = copy.deepcopy(net)\ntorch.save({'model': net.state_dict()}, path)\n", "net.state_dict()",
        "ema.state_dict()",
    ),
    "names from a set": (
        "artifact.label_order_changed", "index = {n: i for i, n in enumerate(set(names))}\n", "set(names)",
        "sorted(set(names))",
    ),
    "an average under a new name": (
        "graph.ema_not_updated",
        "for t, s in zip(a.parameters(), b.parameters()):\n    t = t * 0.9 + s * 0.1\n",
        "t = t * 0.9 + s * 0.1", "t.data.copy_(t * 0.9 + s * 0.1)",
    ),
    "an average that is thrown away": (
        "graph.ema_not_updated",
        "for t, s in zip(a.parameters(), b.parameters()):\n    t.data.lerp(s.data, 0.1)\n", "lerp(", "lerp_(",
    ),
    "an update that nobody calls": (
        "graph.ema_not_updated",
        "class Ema:\n    def __init__(self, m):\n        self.m = copy.deepcopy(m)\n    def update(self, m):\n"
        "        pass\n"
        "ema = Ema(net)\nopt = torch.optim.SGD(net.parameters(), lr=1)\nopt.step()\n",
        "opt.step()\n", "opt.step()\nema.update(net)\n",
    ),
    "an optimizer that writes into a name": (
        "optimizer.silent_no_update",
        "class O:\n    def step(self):\n        for p in self.params:\n            p = p - self.lr * p.grad\n",
        "p = p - self.lr * p.grad", "p.data.copy_(p - self.lr * p.grad)",
    ),
    # samples
    "a rare class": (
        "data.class_imbalance", "import torch\nf = nn.CrossEntropyLoss()\nsaid = out.argmax(1)\n", "CrossEntropyLoss()",
        "CrossEntropyLoss(weight=torch.tensor([0.556, 5.0]))",
    ),
    "a rare yes": (
        "data.class_imbalance", "import torch\nloss = F.binary_cross_entropy_with_logits(out, y)\nyes = out > 0\n",
        "out, y)",
        "out, y, pos_weight=torch.tensor(9.0))",
    ),
    "repeated before the split": (
        "eval.test_leakage",
        "x, y = twice(x, y)\na, b, c, d = train_test_split(x, y)\n",
        "x, y = twice(x, y)\na, b, c, d = train_test_split(x, y)\n",
        "a, b, c, d = train_test_split(x, y)\na, c = twice(a, c)\n",
    ),
    "two orders": (
        "eval.test_leakage", "p = torch.randperm(9)\nq = torch.randperm(9)\ntrain, test = p[:5], q[5:]\n",
        "q = torch.randperm(9)", "q = p",
    ),
    "a turned digit": (
        "data.bad_augmentation",
        "class D:\n    def __getitem__(self, i):\n        x = self.x[i]\n        x = np.rot90(x, 2)\n"
        "        return x\n",
        "        x = np.rot90(x, 2)\n", "",
    ),
    "another scale in evaluation": (
        "eval.preprocessing_mismatch",
        "x_train = torch.tensor(train / 16)\nx_test = torch.tensor(test)\n", "tensor(test)", "tensor(test / 16)",
    ),
    "a scaler fitted twice": (
        "eval.preprocessing_mismatch",
        "s = StandardScaler()\nx_train = s.fit_transform(x_train)\nx_test = s.fit_transform(x_test)\n",
        "s.fit_transform(x_test)", "s.transform(x_test)",
    ),
    "statistics of its own": (
        "eval.preprocessing_mismatch",
        "x_train = (x_train - x_train.mean(0)) / 2\nx_test = (x_test - x_test.mean(0)) / 2\n",
        "x_train = (x_train - x_train.mean(0)) / 2\nx_test = (x_test - x_test.mean(0)) / 2\n",
        "statistic_0 = x_train.mean(0)\nx_train = (x_train - x_train.mean(0)) / 2\n"
        "x_test = (x_test - statistic_0) / 2\n",
    ),
    "a loader in the loop": (
        "perf.rebuilt_every_step",
        "for i in range(9):\n    loader = DataLoader(d)\n    x = next(iter(loader))\n",
        "for i in range(9):\n    loader = DataLoader(d)\n    x = next(iter(loader))\n",
        "loader = DataLoader(d)\nbatches = (batch for _ in iter(int, 1) for batch in loader)  # pass after pass\n"
        "for i in range(9):\n    x = next(batches)\n",
    ),
    "padding that ends": ("data.eos_masked_as_pad", "eos_id = 1\npad_id = eos_id\n", "= eos_id", "= eos_id + 1"),
    # how a run is steered
    "a sum over all epochs": (
        "loop.metric_logged_wrong",
        "total, n = 0.0, 0\nfor e in range(3):\n    for x in data:\n        loss.backward()\n"
        "        total += loss.item()\n        n += 1\n    print(total / n)\n",
        "    for x", "    total = 0.0\n    n = 0\n    for x",
    ),
    "a meter over all epochs": (
        "loop.metric_logged_wrong",
        f"{METER}m = Mean()\nfor e in range(3):\n    for x in data:\n        loss.backward()\n        m.update(1)\n",
        "    for x", "    m.reset()\n    for x",
    ),
    "a sum in one loop": (
        "loop.metric_logged_wrong",
        "total = 0.0\nfor i in range(99):\n    loss.backward()\n    total += loss.item()\n    if i % 9 == 0:\n"
        "        print(total / 9)\n",
        "print(total / 9)\n", "print(total / 9)\n        total = 0.0\n",
    ),
    "a forward before the region": (
        "precision.autocast_not_applied",
        "out = model(x)\nwith torch.autocast(\"cpu\"):\n    loss = f(out)\n",
        "out = model(x)\nwith torch.autocast(\"cpu\"):\n    loss = f(out)\n",
        "with torch.autocast(\"cpu\"):\n    out = model(x)\n    loss = f(out)\n",
    ),
    "a region for another device": (
        "precision.autocast_not_applied", "with torch.autocast(\"cuda\"):\n    loss = f(model(x))\n", '"cuda"', '"cpu"',
    ),
    "piece by piece": (
        "perf.slow_optimizer", "o = torch.optim.Adam(p, foreach=False)\n", "=False", "=True",
    ),
}  # fmt: skip
