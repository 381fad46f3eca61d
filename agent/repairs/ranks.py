"""Repairs of training on several ranks: what is wrapped, averaged, divided and shuffled."""

from __future__ import annotations

import libcst as cst

from aitia.agent.repairs.accused import Accused, Edits, Patch, Source, keyword, positional, receiver, targets

WRAPPERS = ("DDP", "DistributedDataParallel")


def forward_bypasses_wrapper(accused: Accused) -> Patch | None:
    """Call the wrapper, not the module inside it."""
    for source in accused.sources:
        edits = Edits(source)
        wrapped = _wrapped(source)
        inner = {name: outer for outer, name in wrapped.items() if name and name != outer}
        for call in source.nodes(cst.Call):
            function, here = call.func, source.line(call) in accused.lines(source)
            if isinstance(function, cst.Attribute) and function.attr.value == "module" and here:
                edits.replace(function, source.code(function.value))
            elif source.code(function) in inner and here:
                edits.replace(function, inner[source.code(function)])
        patch = accused.patch("call the wrapper, which averages the gradients, not the module inside it", edits)
        if patch is not None:
            return patch
    return None


def hooks_lost_after_move(accused: Accused) -> Patch | None:
    """Wrap the model anew after its layers were exchanged."""
    for source in accused.sources:
        wrapped = _wrapped(source)
        constructions = [c for c in source.calls(*WRAPPERS) if targets(source, c)]
        for assign in source.nodes(cst.Assign):
            text = source.code(assign.targets[0].target)
            outer = next((w for w in wrapped if text.startswith(f"{w}.module.")), None)
            inside = next((w for w, m in wrapped.items() if m and text.startswith(f"{m}.")), None)
            name = outer or inside
            built = next((c for c in constructions if source.code(targets(source, c)[0]) == name), None)
            if name is None or built is None or source.line(assign) < source.line(built):
                continue
            edits = Edits(source)
            options = "".join(f", {source.code(a).rstrip(', ')}" for a in built.args[1:])
            edits.after(source.statement(assign), f"{name} = {source.code(built.func)}({name}.module{options})")
            return accused.patch("wrap the model again after its layers were exchanged", edits)
    return None


def wrong_grad_scale(accused: Accused) -> Patch | None:
    """Divide the summed gradients by the number of ranks."""
    for source in accused.sources:
        calls = [c for c in source.calls("all_reduce") if positional(c) and (
            ".grad" in source.code(c.args[0].value) or source.line(c) in accused.lines(source))]  # fmt: skip
        for call in accused.suspects(calls, source):
            edits, gradient = Edits(source), source.code(call.args[0].value)
            dist = source.code(on) if (on := receiver(call)) is not None else "torch.distributed"
            edits.after(source.statement(call), f"{gradient}.div_({dist}.get_world_size())")
            return accused.patch("divide the summed gradients by the number of ranks", edits)
    return None


def replicated_param_diverges(accused: Accused) -> Patch | None:
    """Synchronise the gradient of every parameter, not of some."""
    for source in accused.sources:
        for call in source.calls("all_reduce"):
            test = source.enclosing(call, (cst.If, cst.FunctionDef))
            loop = source.loop(call)
            if not isinstance(test, cst.If) or test.orelse is not None or not isinstance(loop, cst.For):
                continue
            name = source.code(loop.target.elements[-1].value if isinstance(loop.target, cst.Tuple) else loop.target)
            if not any(
                n.value == name or n.value in source.code(loop.target) for n in source.nodes(cst.Name, test.test)
            ):
                continue
            edits = Edits(source)
            edits.replace(test.test, f"{name}.grad is not None")
            return accused.patch("synchronise the gradients of all parameters", edits)
    return None


def never_synchronised(accused: Accused) -> Patch | None:
    """Average the gradients over the ranks before every step."""
    for source in accused.sources:
        for call, name in accused.suspects_with(accused.steps(source), source):
            edits = Edits(source)
            edits.before(
                source.statement(call),
                f"for group in {name}.param_groups:",
                '    for parameter in group["params"]:',
                "        if parameter.grad is not None:",
                "            torch.distributed.all_reduce(parameter.grad)",
                "            parameter.grad.div_(torch.distributed.get_world_size())",
            )
            if "import torch" in source.text:
                return accused.patch("average the gradients over the ranks before the step", edits)
    return None


def same_data_on_ranks(accused: Accused) -> Patch | None:
    """Give each rank its own part of the data."""
    for source in accused.sources:
        loaders = [c for c in source.calls("DataLoader") if keyword(c, "sampler") is None and positional(c)]
        training = [c for c in loaders if (s := keyword(c, "shuffle")) is not None and source.code(s.value) == "True"]
        call = accused.pick(training, source)
        if call is None:
            continue
        edits, shuffle = Edits(source), keyword(call, "shuffle")
        sampler = f"sampler=torch.utils.data.DistributedSampler({source.code(call.args[0].value)})"
        if shuffle is not None and "import torch" in source.text:
            edits.replace(shuffle, sampler)
            return accused.patch("give each rank its own part of the data", edits)
    return None


def set_epoch_missing(accused: Accused) -> Patch | None:
    """Tell the sampler the epoch."""
    for source in accused.sources:
        loaders = {source.code(t) for c in source.calls("DataLoader") for t in targets(source, c)}
        for loop in source.nodes(cst.For):
            outer = source.loop(loop)
            names = {source.code(n) for k in (cst.Name, cst.Attribute) for n in source.nodes(k, loop.iter)} & loaders
            if not isinstance(outer, cst.For) or not isinstance(outer.target, cst.Name) or len(names) != 1:
                continue
            edits = Edits(source)
            edits.before(loop, f"{names.pop()}.sampler.set_epoch({outer.target.value})")
            return accused.patch("tell the sampler the epoch, so that each has an order of its own", edits)
    return None


def _wrapped(source: Source) -> dict[str, str]:
    """Name of every wrapper → the name of the model it was given, empty where that has none."""
    found: dict[str, str] = {}
    for call in source.calls(*WRAPPERS):
        for target in targets(source, call):
            first = positional(call)[0].value if positional(call) else None
            found[source.code(target)] = source.code(first) if isinstance(first, (cst.Name, cst.Attribute)) else ""
    return found
