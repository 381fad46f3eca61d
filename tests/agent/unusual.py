"""Faults in less usual words: cause, text, what changes, into what."""

from __future__ import annotations

from wider import CLASS

CASES = {
    "a table that is frozen unless told": (
        "optimizer.frozen_by_mistake", "e = nn.Embedding.from_pretrained(t)\n", "(t)", "(t, freeze=False)",
    ),
    "frozen by a part of its name": (
        "optimizer.frozen_by_mistake",
        "for n, p in m.named_parameters():\n    p.requires_grad = not n.startswith('a')\n",
        "not n.startswith('a')", "True",
    ),
    "a file that nobody writes": (
        "pipeline.stage_output_unused",
        "torch.save(net.state_dict(), folder / 'last.pt')\nif (folder / 'best.pt').exists():\n    f(folder)\n",
        "'best.pt'", '"last.pt"',
    ),
    "a parameter that is made frozen": (
        "optimizer.frozen_by_mistake", "w = nn.Parameter(t, requires_grad=False)\n", "=False", "=True",
    ),
    "statistics in one line": (
        "artifact.normalizer_not_saved", f"{CLASS}self.mean, self.std = torch.zeros(3), torch.ones(3)\n",
        "self.mean, self.std = torch.zeros(3), torch.ones(3)",
        'self.register_buffer("mean", torch.zeros(3))\n        self.register_buffer("std", torch.ones(3))',
    ),
    "clamped squares": (
        "loss.clipped_loss", "def f(p, y):\n    return (p - y).square().clamp(max=4).mean()\n", ".clamp(max=4)", "",
    ),
    "a mean divided once more": (
        "loss.reduction_scale", "def f(p, y):\n    return F.cross_entropy(p, y) / len(y)\n", " / len(y)", "",
    ),
    "loaded where it may be, initialized in any case": (
        "init.overwritten", "if path:\n    net.load_state_dict(torch.load(path))\nnet.apply(init)\n",
        "if path:\n    net.load_state_dict(torch.load(path))\nnet.apply(init)\n",
        "net.apply(init)\nif path:\n    net.load_state_dict(torch.load(path))\n",
    ),
    "the best sample of a class": (
        "eval.metric_bug", "def acc(s, y):\n    _, best = s.max(0)\n    return (best[:, None] == y).float().mean()\n",
        "s.max(0)\n    return (best[:, None] == y)", "s.max(1)\n    return (best == y)",
    ),
    "samples that are cut before their answer": (
        "data.targets_mostly_masked", "class C:\n    max_len: int = 16\n", "16", "64",
    ),
    "rectifiers as functions": (
        "model.dead_units", "h = F.relu(self.a(x))\n", "F.relu", "F.leaky_relu",
    ),
    "biases far below zero": (
        "model.dead_units",
        "for m in net.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.constant_(m.bias, -5.0)\n"
        "fit(net)\n",
        "for m in net.modules():\n    if isinstance(m, nn.Linear):\n        nn.init.constant_(m.bias, -5.0)\n", "",
    ),
    "a heavy term in a function": (
        "loss.term_dominates",
        "class S:\n    size: float = 3.0\ndef objective(a, b, size):\n    return f(a) + size * b.abs().mean()\n",
        "size * b", "(size / 1000) * b",
    ),
    "weights the wrong way round": (
        "loss.class_weight_wrong", "import torch\nf = nn.CrossEntropyLoss(weight=counts / n)\n", "counts / n",
        "torch.tensor([0.556, 5.0])",
    ),
    "gradients switched off": (
        "graph.no_grad_region", "torch.set_grad_enabled(False)\n", "False", "True",
    ),
    "a term as a number": (
        "graph.detached_term", "extra = float(f(x))\nloss = g(x) + extra\n", "float(f(x))", "f(x)",
    ),
    "a new tensor of an old one": (
        "graph.non_differentiable_op", "z = torch.tensor(net(x).tolist())\n", "torch.tensor(net(x).tolist())", "net(x)",
    ),
    "data of a part": ("graph.detached_term", "loss = f(x) + g(x).data\n", "g(x).data", "g(x)"),
    "two backwards": (
        "graph.backward_twice", "a.backward()\nb.backward()\nopt.step()\n", "a.backward()",
        "a.backward(retain_graph=True)",
    ),
    "one backward twice": (
        "graph.backward_twice", "a.backward()\nopt.step()\na.backward()\n", "opt.step()\na.backward()\n",
        "opt.step()\n",
    ),
    "written by index": (
        "graph.inplace_modification",
        "class M:\n    def forward(self, x):\n        h = self.a(x)\n        h[:, 0] = 0\n        return h\n",
        "        h[:, 0]", "        h = h.clone()\n        h[:, 0]",
    ),
    "rectified in place": ("graph.inplace_modification", "net = nn.Sequential(nn.ReLU(True))\n", "True", "False"),
    "divided in place": ("numerics.divide_by_zero_scale", "x /= x.std(0)\n", "x.std(0)", "(x.std(0) + 1e-5)"),
    "squashed between layers": (
        "model.saturated_units",
        "class M:\n    def forward(self, x):\n        h = torch.sigmoid(self.a(x))\n        return self.b(h)\n",
        "torch.sigmoid", "torch.relu",
    ),
    "evaluated by a function": (
        "eval.mode_not_eval",
        "def accuracy(model, x):\n    return model(x).mean()\nfor e in range(3):\n    loss = f(model(x))\n"
        "    loss.backward()\n",
        "    return model(x).mean()\nfor", "    model.eval()\n    return model(x).mean()\nmodel.train()\nfor",
    ),
    "padded with a number": (
        "loss.padding_counted", "x = pad_sequence(s, padding_value=7)\nloss = F.cross_entropy(out, y)\n", "out, y",
        "out, y, ignore_index=7",
    ),
    "an output that cannot be negative": (
        "model.output_activation_range",
        "class M:\n    def forward(self, x):\n        x = torch.relu(self.out(x))\n        return x\n",
        "torch.relu(self.out(x))", "self.out(x)",
    ),
}  # fmt: skip
