"""What a repair works on: the accused lines of the program, and what the run says about the objects in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, TypeVar

import libcst as cst

from aitia.agent.repairs.source import (
    Edits,
    Source,
    Statement,
    argument,
    keyword,
    last_name,
    positional,
    receiver,
)
from aitia.engine.records import CausalHypothesis
from aitia.engine.store.reader import Run

N = TypeVar("N", bound=cst.CSTNode)
MODEL_NAMES = frozenset(
    {"model", "net", "network", "module", "classifier", "encoder", "decoder", "generator", "discriminator"}
)

MAX_PARSED = 150_000
"""Characters of source that are parsed: about three seconds."""


@dataclass(frozen=True)
class Patch:
    """A repair of the program's text."""

    summary: str
    """What is changed, in one sentence."""
    files: dict[str, str]
    """New text of every changed file."""
    kind: Literal["codemod", "config", "edit"] = "codemod"
    """`edit`: written by a language model."""
    number: float | None = None
    """The number that is set, where a repair is nothing else."""


@lru_cache(maxsize=64)
def parsed(name: str, text: str) -> Source | None:
    """A file as every repair reads it; None where it is not Python."""
    try:
        return Source(name, text)
    except cst.ParserSyntaxError:
        return None


class Accused:
    """The program of a run, and the hypothesis that accuses it."""

    def __init__(self, run: Run, hypothesis: CausalHypothesis) -> None:
        self.run = run
        self.hypothesis = hypothesis

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The user's files that parse: the accused one, the script, then those in which most was seen to happen.

        Of a large project only as many as can be parsed in a few seconds.
        """
        texts = self.run.sources
        first = self.hypothesis.location.file if self.hypothesis.location else None
        seen = Counter(f.file for f in self.run.facts())
        names = sorted(texts, key=lambda n: (n != first, n != self.run.info.script, -seen[n], n))
        found, size = [], 0
        for number, name in enumerate(names):
            size += len(texts[name])
            if number and size > MAX_PARSED:
                break
            if (source := parsed(name, texts[name])) is not None:
                found.append(source)
        return tuple(found)

    def source(self, name: str | None) -> Source | None:
        """The file of that name."""
        return next((s for s in self.sources if s.name == name), None)

    def lines(self, source: Source) -> frozenset[int]:
        """The accused lines in a file."""
        where = self.hypothesis.location
        return frozenset(where.lines) if where is not None and where.file == source.name else frozenset()

    def suspects(self, nodes: Iterable[N], source: Source) -> list[N]:
        """Those that touch an accused line; where none does, all of them."""
        found, lines = list(nodes), self.lines(source)
        hit = [n for n in found if any(source.line(n) <= x <= source.range(n).end.line for x in lines)]
        return hit or found

    def suspects_with(self, pairs: list[tuple[N, str]], source: Source) -> list[tuple[N, str]]:
        """`suspects` for nodes that carry a name along."""
        kept = self.suspects([node for node, _ in pairs], source)
        return [(node, name) for node, name in pairs if node in kept]

    def pick(self, nodes: Iterable[N], source: Source) -> N | None:
        """The one suspect; None where the accusation leaves a choice."""
        found = self.suspects(nodes, source)
        return found[0] if len(found) == 1 else None

    def patch(self, summary: str, edits: Edits, kind: Literal["codemod", "config"] = "codemod") -> Patch | None:
        """The patch that these edits amount to; None where they come to nothing."""
        text = edits.result()
        return None if text is None else Patch(summary, {edits.source.name: text}, kind)

    # ---- objects of the program --------------------------------------------------------------------------------

    @cached_property
    def optimizers(self) -> frozenset[str]:
        """Last names of the variables that hold optimizers."""
        names = {last_name(t) for s in self.sources for call in optimizer_constructions(s) for t in targets(s, call)}
        known = {o.name for o in self.run.optimizers} | {"optimizer", "optim", "opt"}
        return frozenset((names | known) - {""})

    @cached_property
    def schedulers(self) -> frozenset[str]:
        """Last names of the variables that hold learning-rate schedulers."""
        names = {"scheduler", "lr_scheduler", "sched"}
        for s in self.sources:
            calls = [c for c in s.nodes(cst.Call) if ".lr_scheduler." in f".{s.qualified(c.func) or s.code(c.func)}."]
            names |= {last_name(t) for call in calls for t in targets(s, call)}
        return frozenset(names - {""})

    @cached_property
    def models(self) -> frozenset[str]:
        """Last names of the variables that hold watched models, `self` included inside a module's class."""
        seen = {str(f.data.get("name", "")).split(".")[-1] for f in self.run.facts("model_seen")}
        roots = {layer.root.split(".")[-1] for layer in self.run.layers}
        return frozenset(_handed_on(self.sources, seen | roots | MODEL_NAMES) - {""})

    def steps(self, source: Source, within: cst.CSTNode | None = None) -> list[tuple[cst.Call, str]]:
        """Optimizer steps with the optimizer's expression: `opt.step()`, `scaler.step(opt)`."""
        found = []
        for call in source.calls("step", within=within):
            on = receiver(call)
            if on is None or last_name(on) in self.schedulers:
                continue
            first = next(iter(positional(call)), None)
            if first is not None and last_name(first.value) in self.optimizers:
                found.append((call, source.code(first.value)))
            elif last_name(on) in self.optimizers or "opt" in last_name(on).lower():
                found.append((call, source.code(on)))
        return found

    def forwards(self, source: Source, within: cst.CSTNode) -> Iterator[cst.Call]:
        """Calls of a model: `model(x)`, `self.net(x)`, `self(x)`."""
        made = {c.name.value for s in self.sources for c in s.nodes(cst.ClassDef)}
        for call in source.nodes(cst.Call, within):
            name = last_name(call.func)
            if (name in self.models and name not in made) or name == "self":
                yield call


def _handed_on(sources: Iterable[Source], known: set[str] | frozenset[str]) -> set[str]:
    """Names of models, and of the parameters of functions and the attributes that models are handed on to."""
    found = set(known)
    for s in sources:
        functions = {f.name.value: f for f in s.nodes(cst.FunctionDef) if f.name.value != "__init__"}
        for call in s.nodes(cst.Call):
            function = functions.get(last_name(call.func))
            if function is None:
                continue
            names = [p.name.value for p in function.params.params]
            names = names[1:] if names[:1] == ["self"] else names
            given = positional(call)
            found |= {n for n, a in zip(names, given, strict=False) if _is_model(a.value, known)}
            found |= {a.keyword.value for a in call.args if a.keyword is not None and _is_model(a.value, known)}
    return found


def _is_model(node: cst.BaseExpression, known: set[str] | frozenset[str]) -> bool:
    if isinstance(node, cst.Call):  # a model that is made on the spot is called by the name of its class
        return last_name(node.func) in known
    return isinstance(node, (cst.Name, cst.Attribute)) and last_name(node) in known


TORCH = frozenset({"F", "torch", "nn.functional", "torch.nn.functional"})
"""How programs call the places of torch's functions."""


def applied_to(source: Source, call: cst.Call) -> cst.BaseExpression | None:
    """What an operation works on: `x` of `x.relu()`, `F.relu(x)`, `torch.relu(input=x)` and `relu(x)`."""
    on = receiver(call)
    return argument(call, 0, "input") if on is None or source.code(on) in TORCH else on


def optimizer_constructions(source: Source) -> list[cst.Call]:
    """Calls that build an optimizer."""
    found = []
    for call in source.nodes(cst.Call):
        name = source.qualified(call.func) or source.code(call.func)
        if name.startswith("torch.optim.") and ".lr_scheduler" not in name and ".swa_utils" not in name:
            found.append(call)
    return found


def cleared(source: Source, call: cst.Call) -> str | None:
    """The optimizer whose gradients a `zero_grad` clears; of a network's own, the one that was built for it."""
    on = receiver(call)
    if on is None:
        return None
    name = source.code(on)
    for built in optimizer_constructions(source):
        given = positional(built)[0].value if positional(built) else None
        if given is not None and source.code(given) == f"{name}.parameters()" and (held := targets(source, built)):
            return source.code(held[0])
    return name


def targets(source: Source, node: cst.CSTNode) -> list[cst.BaseExpression]:
    """What the statement around an expression assigns to."""
    statement = source.statement(node)
    if not isinstance(statement, cst.SimpleStatementLine):
        return []
    found: list[cst.BaseExpression] = []
    for small in statement.body:
        if isinstance(small, cst.Assign):
            found += [t.target for t in small.targets]
        elif isinstance(small, (cst.AnnAssign, cst.AugAssign)):
            found.append(small.target)
    return found


def unpacked(assign: cst.Assign) -> list[tuple[cst.BaseExpression, cst.BaseExpression]]:
    """Target and value of an assignment to one name, and of `a, b = x, y` each; empty where they do not pair."""
    target, value = assign.targets[0].target, assign.value
    if len(assign.targets) != 1:
        return []
    if not isinstance(target, cst.Tuple):
        return [(target, value)]
    if not isinstance(value, cst.Tuple) or len(value.elements) != len(target.elements):
        return []
    return [(t.value, v.value) for t, v in zip(target.elements, value.elements, strict=True)]


def only(statement: Statement) -> cst.BaseSmallStatement | None:
    """The single small statement of a line; None where several share it."""
    if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
        return statement.body[0]
    return None


def is_expression(statement: Statement) -> bool:
    """Whether a line is nothing but one expression, so that it can be moved or removed whole."""
    return isinstance(only(statement), cst.Expr)


__all__ = [
    "MODEL_NAMES", "Accused", "Edits", "Patch", "Source", "is_expression", "keyword", "last_name", "only",
    "optimizer_constructions", "positional", "receiver", "targets", "unpacked",
]  # fmt: skip
