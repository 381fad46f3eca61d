"""One fault in the words of many people: cause, text, and what each changed part becomes."""

from __future__ import annotations

NET = (
    "import torch\nimport torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
)
FORWARD = "    def forward(self, x):\n"

Case = tuple[str, str, tuple[tuple[str, str], ...]]

CASES: dict[str, Case] = {
    # activations
    "layers in a loop before a head": (
        "model.missing_nonlinearity",
        NET + "        self.hidden = nn.ModuleList([nn.Linear(2, 8), nn.Linear(8, 8)])\n"
        "        self.out = nn.Linear(8, 2)\n" + FORWARD
        + "        for layer in self.hidden:\n            x = layer(x)\n        return self.out(x)\n",
        (("= layer(x)", "= torch.relu(layer(x))"),),
    ),
    "layers in a loop to the end": (
        "model.missing_nonlinearity",
        NET + "        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)\n" + FORWARD
        + "        for layer in self.layers:\n            x = layer(x)\n        return x\n",
        (("= layer(x)", "= (layer(x) if layer is self.layers[-1] else torch.relu(layer(x)))"),),
    ),
    "named elements": (
        "model.missing_nonlinearity",
        'import torch.nn as nn\nnet = nn.Sequential(OrderedDict([("a", nn.Linear(2, 8)), ("b", nn.Linear(8, 1))]))\n',
        (('("a", nn.Linear(2, 8))', '("a", nn.Linear(2, 8)), ("act0", nn.ReLU())'),),
    ),
    "a comprehension": (
        "model.missing_nonlinearity",
        "from torch import nn\nnet = nn.Sequential(*[nn.Linear(a, b) for a, b in zip(dims, dims[1:])])\n",
        (("*[nn.Linear(a, b) for a, b in zip(dims, dims[1:])]",
          "*[layer for a, b in zip(dims, dims[1:]) for layer in (nn.Linear(a, b), nn.ReLU())][:-1]"),),
    ),
    "a list that grows": (
        "model.missing_nonlinearity",
        "from torch import nn\nlayers = []\nfor a, b in dims:\n    layers.append(nn.Linear(a, b))\n"
        "layers.append(nn.Linear(b, 1))\nnet = nn.Sequential(*layers)\n",
        (("    layers.append(nn.Linear(a, b))\n",
          "    layers.append(nn.Linear(a, b))\n    layers.append(nn.ReLU())\n"),),
    ),
    "a norm comes first": (
        "model.missing_nonlinearity",
        "from torch import nn\nnet = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))\n",
        (("nn.BatchNorm1d(8)", "nn.BatchNorm1d(8), nn.ReLU()"),),
    ),
    "two heads side by side": (
        "model.missing_nonlinearity",
        NET + "        self.h = nn.Linear(2, 8)\n        self.mu, self.var = nn.Linear(8, 1), nn.Linear(8, 1)\n"
        + FORWARD + "        h = self.h(x)\n        return self.mu(h), self.var(h)\n",
        (("= self.h(x)", "= torch.relu(self.h(x))"),),
    ),
    "layers in another method": (
        "model.missing_nonlinearity",
        NET + "        self.a = nn.Linear(2, 8)\n        self.b = nn.Linear(8, 1)\n"
        "    def encode(self, x):\n        return self.a(x)\n" + FORWARD + "        return self.b(self.encode(x))\n",
        (("return self.a(x)", "return torch.relu(self.a(x))"),),
    ),
    "an activation chosen by name": (
        "model.missing_nonlinearity",
        'ACTS = {"relu": nn.ReLU, "identity": nn.Identity2}\nnet = build(act="identity")\n',
        (('act="identity"', 'act="relu"'),),
    ),
    # gradients switched off
    "a decorator": (
        "graph.no_grad_region", "@torch.no_grad()\ndef features(x):\n    return conv(x)\n",
        (("@torch.no_grad()\n", ""),),
    ),
    "two blocks": (
        "graph.no_grad_region",
        "with torch.no_grad():\n    a = conv1(x)\nwith torch.no_grad():\n    b = conv2(a)\nloss.backward()\n",
        (("with torch.no_grad():\n    a", "with torch.enable_grad():\n    a"),
         ("with torch.no_grad():\n    b", "with torch.enable_grad():\n    b")),
    ),
    "a condition": (
        "graph.no_grad_region", "with torch.set_grad_enabled(not self.frozen):\n    a = conv1(x)\n",
        (("not self.frozen", "True"),),
    ),
    "a block and a cut behind it": (
        "graph.no_grad_region", "with torch.no_grad():\n    h = enc(x)\nloss = head(h.detach())\n",
        (("no_grad", "enable_grad"), (".detach()", "")),
    ),
    # an optimizer with old tensors
    "a method that changes the model": (
        "optimizer.stale_param_reference",
        "import torch\nclass Net:\n    def reset(self):\n        self.fc = Linear(2, 2)\n"
        "def setup():\n    model = Net()\n    optimizer = torch.optim.SGD(model.parameters(), lr=LR)\n"
        "    return model, optimizer\nLR = 0.1\nmodel, optimizer = setup()\nmodel.reset()\n",
        (("\nmodel.reset()\n",
          "\nmodel.reset()\noptimizer = torch.optim.SGD(model.parameters(), lr=LR)\n"),),
    ),
    "a change in a later stage": (
        "optimizer.stale_param_reference",
        "import torch\ndef grow(m):\n    m.fc = Linear(2, 3)\n    return m\nmodel = Net()\n"
        "opt = torch.optim.Adam(model.parameters())\nfor stage in range(2):\n    if stage:\n"
        "        model = grow(model)\n    fit(model, opt)\n",
        (("        model = grow(model)\n",
          "        model = grow(model)\n        opt = torch.optim.Adam(model.parameters())\n"),),
    ),
    # layers that the model does not know
    "a tuple": (
        "model.submodule_not_registered", NET + "        self.blocks = tuple(nn.Linear(a, a) for a in sizes)\n",
        (("tuple(nn.Linear(a, a) for a in sizes)", "nn.ModuleList(tuple(nn.Linear(a, a) for a in sizes))"),),
    ),
    "a list that was filled before": (
        "model.submodule_not_registered",
        NET + "        experts = []\n        for _ in range(3):\n            experts.append(nn.Linear(2, 2))\n"
        "        self.experts = experts\n",
        (("self.experts = experts", "self.experts = nn.ModuleList(experts)"),),
    ),
    "a dictionary that is filled": (
        "model.submodule_not_registered",
        NET + "        self.layers = {}\n        for name in names:\n            self.layers[name] = nn.Linear(2, 2)\n",
        (("self.layers = {}", "self.layers = nn.ModuleDict()"),),
    ),
    "pairs of layers": (
        "model.submodule_not_registered",
        NET + "        self.pairs = [(nn.Linear(2, 2), nn.LayerNorm(2))]\n",
        (("[(nn.Linear(2, 2), nn.LayerNorm(2))]",
          "nn.ModuleList([nn.ModuleList((nn.Linear(2, 2), nn.LayerNorm(2)))])"),),
    ),
    "a function that makes layers": (
        "model.submodule_not_registered",
        "from torch import nn\ndef block(n):\n    return nn.Sequential(nn.Linear(n, n), nn.ReLU())\n"
        "class Net(nn.Module):\n    def __init__(self):\n        self.blocks = [block(4) for _ in range(2)]\n",
        (("[block(4) for _ in range(2)]", "nn.ModuleList([block(4) for _ in range(2)])"),),
    ),
    "a block that is no module": (
        "model.submodule_not_registered",
        "import torch.nn as nn\nclass Branch:\n    def __init__(self):\n        self.fc = nn.Linear(2, 2)\n"
        "    def __call__(self, x):\n        return self.fc(x)\n",
        (("class Branch:", "class Branch(nn.Module):"),
         ("        self.fc = nn", "        super().__init__()\n        self.fc = nn"), ("__call__", "forward")),
    ),
    "around the module's own bookkeeping": (
        "model.submodule_not_registered", NET + '        object.__setattr__(self, "enc", nn.Linear(2, 2))\n',
        (('object.__setattr__(self, "enc", nn.Linear(2, 2))', "self.enc = nn.Linear(2, 2)"),),
    ),
    # what a position may see
    "scores by hand": (
        "model.causal_leak",
        "import torch\ndef attend(q, k, v):\n    w = q @ k.transpose(-1, -2) / 4\n"
        "    return F.softmax(w, dim=-1) @ v\n",
        (("    return F", "    w = w.masked_fill(torch.ones(w.shape[-2:], dtype=torch.bool, device=w.device).triu(1), "
          'float("-inf"))\n    return F'),),
    ),
    "a transformer of torch": (
        "model.causal_leak",
        NET + "        self.enc = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 2)\n"
        + FORWARD + "        return self.enc(x)\n",
        (("self.enc(x)",
          "self.enc(x, mask=torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1))"),),
    ),
    "attention of torch over itself": (
        "model.causal_leak",
        NET + "        self.mha = nn.MultiheadAttention(8, 2)\n" + FORWARD
        + "        return self.mha(x, x, x, attn_mask=None)[0]\n",
        (("=None", "=torch.ones(x.shape[0], x.shape[0], dtype=torch.bool, device=x.device).triu(1)"),),
    ),
    "a convolution over time": (
        "model.causal_leak",
        NET + "        self.c = nn.Conv1d(8, 8, 3, padding=1)\n" + FORWARD + "        return self.c(x)\n",
        (("padding=1", "padding=0"),
         ("self.c(x)", "self.c(nn.functional.pad(x, ((self.c.kernel_size[0] - 1) * self.c.dilation[0], 0)))")),
    ),
    "both directions": (
        "model.causal_leak", "rnn = nn.GRU(8, 16, batch_first=True, bidirectional=True)\n",
        (("8, 16", "8, 2 * 16"), ("bidirectional=True", "bidirectional=False")),
    ),
    "a mask turned round": (
        "model.causal_leak", "mask = torch.tril(torch.ones(4, 4, dtype=torch.bool), diagonal=-1)\n",
        (("tril", "triu"), ("-1", "1")),
    ),
    # where tokens stand
    "a table that nobody asks": (
        "model.no_position_signal",
        NET + "        self.items = nn.Embedding(9, 8)\n        self.where = nn.Parameter(torch.randn(5, 8))\n"
        + FORWARD + "        x = self.items(x)\n        return self.mix(x)\n",
        (("x = self.items(x)\n", "x = self.items(x)\n        x = x + self.where[: x.shape[1]]\n"),),
    ),
    "a module that nobody asks": (
        "model.no_position_signal",
        "import torch\nclass Pos(nn.Module):\n    pass\n" + NET
        + "        self.emb = nn.Embedding(9, 8)\n        self.pos = Pos(8)\n" + FORWARD
        + "        x = self.emb(x) * 8 ** 0.5\n        return self.mix(x)\n",
        (("self.emb(x) * 8 ** 0.5", "self.pos(self.emb(x) * 8 ** 0.5)"),),
    ),
    # values with their graph
    "an average that is carried on": (
        "resource.graph_retained_by_history",
        "for x in data:\n    loss = f(x)\n    loss.backward()\n    ema = 0.9 * ema + 0.1 * loss\n",
        (("loss.backward()\n", "loss.backward()\n    loss = loss.detach()\n"),),
    ),
    "a meter that counts, too": (
        "resource.graph_retained_by_history",
        "def update(self, value, n):\n    self.sum += value * n\n    self.count += n\n",
        (("+= value * n", "+= (value * n).detach()"),),
    ),
    # hooks
    "a function that registers and looks": (
        "resource.hooks_accumulate",
        "def stats(model, x):\n    for m in model.modules():\n        m.register_forward_hook(save)\n"
        "    model(x)\n    return dict(acts)\n",
        (("    for m", "    handles = []\n    for m"),
         ("m.register_forward_hook(save)", "handles.append(m.register_forward_hook(save))"),
         ("    return", "    for handle in handles:\n        handle.remove()\n    return")),
    ),
    "an object that registers": (
        "resource.hooks_accumulate",
        "class Probe:\n    def __init__(self, model):\n"
        "        self.hooks = [m.register_forward_hook(f) for m in model]\n"
        "def epoch(model):\n    probe = Probe(model)\n    train(model)\n",
        (("    train(model)\n", "    train(model)\n    for handle in probe.hooks:\n        handle.remove()\n"),),
    ),
    "in the loop over batches": (
        "resource.hooks_accumulate",
        "for epoch in range(3):\n    for x in data:\n        net.register_forward_hook(f)\n        net(x).backward()\n",
        (("for epoch", "net.register_forward_hook(f)\nfor epoch"), ("        net.register_forward_hook(f)\n", "")),
    ),
    # terms of the loss
    "a helper that returns a number": (
        "graph.detached_term",
        "def sparsity(h):\n    return h.abs().mean().item()\n"
        "def step(x):\n    loss = f(x) + sparsity(x)\n    loss.backward()\n",
        ((".item()", ""),),
    ),
    "a term that is kept, too": (
        "graph.detached_term",
        "for x in data:\n    penalty = norm(net).detach()\n    kept.append(penalty.numpy())\n"
        "    loss = f(x) + 0.1 * penalty\n    loss.backward()\n",
        (("norm(net).detach()", "norm(net)"), ("penalty.numpy()", "penalty.detach().numpy()")),
    ),
    "a term without gradients": (
        "graph.detached_term",
        "for x in data:\n    with torch.no_grad():\n        mse = f(net(x))\n"
        "    loss = g(x) + mse\n    loss.backward()\n",
        (("no_grad", "enable_grad"),),
    ),
    # graphs that are used twice
    "a pair of states": (
        "graph.backward_twice",
        "for x in data:\n    y, (h, c) = net(x, (h, c))\n    f(y).backward()\n",
        (("    y, (h", "    h, c = h.detach(), c.detach()\n    y, (h"),),
    ),
    "a state that a module remembers": (
        "graph.backward_twice",
        "class Net:\n    def forward(self, x):\n        h = self.cell(x, self.memory)\n        self.memory = h\n"
        "        return h\n",
        (("self.memory = h", "self.memory = h.detach()"),),
    ),
    "a penalty from before the loop": (
        "graph.backward_twice",
        "scale = torch.nn.Parameter(torch.ones(2))\npenalty = (scale ** 2).mean()\nfor x in data:\n"
        "    loss = f(x) + penalty\n    loss.backward()\n",
        (("penalty = (scale ** 2).mean()\nfor x in data:\n",
          "for x in data:\n    penalty = (scale ** 2).mean()\n"),),
    ),
    "losses one by one": (
        "graph.backward_twice",
        "h = f(x)\nfor part in (a(h), b(h)):\n    part.backward()\n",
        (("for part in (a(h), b(h)):\n    part.backward()\n", "sum((a(h), b(h))).backward()\n"),),
    ),
    "a sum over batches": (
        "graph.backward_twice",
        "total = 0\nfor x in data:\n    loss = f(x)\n    total += loss\n    total.backward()\n",
        (("+= loss", "+= loss.detach()"), ("total.backward()", "loss.backward()")),
    ),
    # modes
    "a model under another name": (
        "eval.mode_not_eval",
        "def score(m, x):\n    with torch.no_grad():\n        return m(x)\n"
        "for epoch in range(3):\n    for x in data:\n        f(net(x)).backward()\n    score(net, held)\n",
        (("    with torch", "    m.eval()\n    with torch"), ("    for x in", "    net.train()\n    for x in")),
    ),
}  # fmt: skip
