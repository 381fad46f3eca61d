"""State that leaves or enters a model: `state_dict`, `load_state_dict`, `torch.save`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from aitia.engine.capture.frames import user_frame
from aitia.engine.capture.observers.base import Observer

WAIT: Final = 20
"""Steps after which a state dict that is still alive was kept on purpose: as the best state so far."""
WATCHED: Final = 64
"""State dicts followed at the same time."""
TENSORS: Final = 8
"""Tensors followed of each."""
MAX_FACTS: Final = 40
MAX_NAMES: Final = 100
MAX_SAVED: Final = 2000
"""Tensors of a saved object that are looked at."""
MOST_GIVEN: Final = 5000
"""Loaded parameters that are remembered, the latest."""
MOST_TAKEN: Final = 2000
"""Steps of `state_dict()` calls that are noted for each model."""
MAX_PLAIN: Final = 100_000
"""Numbers of a plain attribute: normalisers are small."""
COMPARED: Final = 20
"""Saved tensors compared by value with the live parameter of the same name."""


@dataclass
class _Kept:
    root: str
    step: int
    where: tuple[str, int] | None
    pairs: list[tuple[weakref.ref[Tensor], weakref.ref[Tensor]]]
    age: int = 0
    """Steps after which it was last seen alive."""
    shared: bool = False


class Watch(Observer):
    """Patches `nn.Module.state_dict`, `nn.Module.load_state_dict` and `torch.save`."""

    def __init__(self, recorder: Any) -> None:
        super().__init__(recorder)
        self._depth = 0
        self._looked_at = 0
        self._kept: list[_Kept] = []
        self._taken: dict[str, list[int]] = {}
        self._taken_at: dict[str, tuple[str, int] | None] = {}
        self._roots: set[int] = set()
        self._tied: dict[type, list[list[str]]] = {}
        """Parameters that are one tensor under several names, in models that ran."""
        self._plain: dict[type, tuple[weakref.ref[nn.Module], dict[str, str]]] = {}
        """Tensors that are plain attributes, and so no part of the state, of models whose state was taken."""
        self._told = {"state_dict": 0, "load_state_dict": 0, "save": 0, "loaded_weights": 0}
        self._loaded: list[tuple[weakref.ref[nn.Module], str, dict[str, Print]]] = []
        self._given_weights: list[weakref.ref[Tensor]] = []
        """Parameters that a state was loaded into."""

    def install(self) -> None:
        self.replace(nn.Module, "state_dict", self._wrap_state)
        self.replace(nn.Module, "load_state_dict", self._wrap_load)
        original = torch.save
        self.replace(torch, "save", self._wrap_save)
        self.replace_bound("save", original, torch.save, torch)

    def _tell(
        self, kind: str, data: dict[str, Any], where: tuple[str, int] | None = None, step: int | None = None
    ) -> None:
        self._told[kind] += 1
        if self._told[kind] <= MAX_FACTS:
            data = data if step is None else {**data, "taken": step}
            self.recorder.fact(kind, subject=str(data.get("root") or ""), data=data, where=where or user_frame())

    # ---- out ----------------------------------------------------------------------------------------------------

    def _wrap_state(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def state_dict(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self._depth or self.idle():
                return original(module, *args, **kwargs)
            self._depth += 1
            try:
                state = original(module, *args, **kwargs)
            finally:
                self._depth -= 1
            self.guard(self._given, module, state)
            return state

        return state_dict

    def _given(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        self.recorder.wake()
        self.recorder.letter("V")
        self._plain[type(module)] = (weakref.ref(module), plain_tensors(module))
        taken = self._taken.setdefault(self._name(module), [])
        self._taken_at[self._name(module)] = user_frame()
        if len(taken) < MOST_TAKEN:
            taken.append(self.recorder.step + 1)
        live = dict(module.named_parameters(remove_duplicate=False))
        pairs: list[tuple[weakref.ref[Tensor], weakref.ref[Tensor]]] = []
        for name, tensor in state.items():
            parameter = live.get(name)
            if isinstance(tensor, Tensor) and parameter is not None and len(pairs) < TENSORS:
                pairs.append((weakref.ref(tensor), weakref.ref[Tensor](parameter)))
        if pairs and len(self._kept) < WATCHED:
            self._kept.append(_Kept(self._name(module), self.recorder.step, user_frame(), pairs))
            self.hear("after_step")

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        if not self._kept:
            self.mute("after_step")
        elif self.recorder.step // WAIT > self._looked_at // WAIT or len(self._kept) >= WATCHED:
            self._looked_at = self.recorder.step
            self._look(False)

    def _look(self, final: bool) -> None:
        """What has stayed alive while the weights went on is followed until it dies, and then told."""
        remaining = []
        for kept in self._kept:
            alive = [(t(), p()) for t, p in kept.pairs if t() is not None and p() is not None]
            if alive:
                kept.age = self.recorder.step - kept.step
                kept.shared = any(t.data_ptr() == p.data_ptr() for t, p in alive if t is not None and p is not None)
                if not final:
                    remaining.append(kept)
                    continue
            if kept.age >= (1 if final else WAIT):
                data = {"root": kept.root, "aliased": kept.shared, "alive_after_steps": kept.age, "dropped": not alive}
                self._tell("state_dict", data, kept.where, kept.step + 1)
        self._kept = remaining

    # ---- in -----------------------------------------------------------------------------------------------------

    def _wrap_load(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def load_state_dict(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            if self._depth or self.idle():
                return original(module, state_dict, *args, **kwargs)
            strict = bool(kwargs.get("strict", args[0] if args else True))
            aliased = bool(self.recorder.own(_aliases, module, state_dict))
            self._depth += 1
            try:
                result = original(module, state_dict, *args, **kwargs)
            except Exception as error:
                self.guard(self._refused, module, state_dict, strict, error)
                raise
            finally:
                self._depth -= 1
            self.guard(self._took, module, state_dict, strict, result, aliased)
            return result

        return load_state_dict

    def _took(self, module: nn.Module, state: Mapping[str, Any], strict: bool, result: Any, aliased: bool) -> None:
        self.recorder.wake()
        self.recorder.letter("W")
        missing, unexpected = list(result.missing_keys), list(result.unexpected_keys)
        data = self._load_data(module, state, strict, missing, unexpected)
        named = module.named_parameters(remove_duplicate=False)
        self._given_weights += [weakref.ref[Tensor](p) for n, p in named if n in state]
        del self._given_weights[:-MOST_GIVEN]
        own = [set(group) for group in tied(module)]
        names = {n for n, _ in module.named_parameters(remove_duplicate=False)}
        lost = [g for g in self._tied.get(type(module), []) if set(g) <= names and not any(set(g) <= o for o in own)]
        self._tell("load_state_dict", {**data, "aliased": aliased, "untied": lost[:MAX_NAMES]})
        self._loaded = [entry for entry in self._loaded if entry[0]() is not module]  # what was loaded last counts
        self._loaded.append((weakref.ref(module), self._name(module), _prints(module)))
        del self._loaded[:-4]

    def _refused(self, module: nn.Module, state: Mapping[str, Any], strict: bool, error: Exception) -> None:
        own = {n for n, _ in module.named_parameters(remove_duplicate=False)} | {n for n, _ in module.named_buffers()}
        missing, unexpected = sorted(own - set(state)), sorted(set(state) - own)
        data = self._load_data(module, state, strict, missing, unexpected)
        self._tell("load_state_dict", {**data, "raised": type(error).__name__})

    def _load_data(
        self, module: nn.Module, state: Mapping[str, Any], strict: bool, missing: list[str], unexpected: list[str]
    ) -> dict[str, Any]:
        own = len(list(module.named_parameters(remove_duplicate=False))) + len(list(module.named_buffers()))
        return {
            "root": self._name(module),
            "strict": strict,
            "matched": len(state) - len(unexpected),
            "missing": missing[:MAX_NAMES],
            "n_missing": len(missing),
            "unexpected": unexpected[:MAX_NAMES],
            "n_unexpected": len(unexpected),
            "n_model": own,
            "n_given": len(state),
        }

    def before_root(self, root: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        """Are the weights that were loaded still there when the model is first used?"""
        if root not in self._roots:
            self._roots.add(root)
            groups = tied(module)
            if groups:
                self._tied.setdefault(type(module), groups)
        if not self._loaded:
            return
        loaded, self._loaded = self._loaded, []
        for reference, name, prints in loaded:
            model = reference()
            if model is None:
                continue
            now = _prints(model)
            changed = [n for n, value in prints.items() if n not in now or now[n] != value]
            data = {"root": name, "n": len(prints), "changed": changed[:MAX_NAMES], "plain_differ": self._differ(model)}
            self._tell("loaded_weights", {**data, **_replaced(prints, now)})

    def _differ(self, model: nn.Module) -> list[str]:
        """Plain tensor attributes that are not what they were in the model whose state was taken."""
        source, before = self._plain.get(type(model), (lambda: model, {}))
        if source() is model:
            return []
        now = plain_tensors(model)
        return [name for name, value in before.items() if now.get(name) != value][:MAX_NAMES]

    # ---- to disk ------------------------------------------------------------------------------------------------

    def _wrap_save(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def save(obj: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(obj, *args, **kwargs)
            if not self.idle():
                self.guard(self._saved, obj)
            return result

        return save

    def _saved(self, obj: Any) -> None:
        self.recorder.wake()
        if self._told["save"] >= MAX_FACTS:
            return
        live: dict[int, str] = {}
        by_name: dict[str, list[tuple[str, Tensor]]] = {}
        for entry, model in self.recorder.registry.live_models():
            for name, parameter in model.named_parameters(remove_duplicate=False):
                live[parameter.data_ptr()] = entry.name
                by_name.setdefault(name, []).append((entry.name, parameter))
        tensors = list(_tensors(obj))
        roots = [live[t.data_ptr()] for _, t in tensors if t.data_ptr() in live]
        equal: bool | None = True if roots else None
        if not roots:
            for name, tensor in tensors[:COMPARED]:
                owners = [(o, p) for o, p in by_name.get(name, []) if p.shape == tensor.shape]
                same = [o for o, p in owners if torch.equal(tensor.to(p.device), p.detach())]
                roots += same or [o for o, _ in owners[:1]]
                equal = equal if not owners else equal is not False and bool(same)
        root = max(set(roots), key=roots.count) if roots else None
        data = {"n_tensors": len(tensors), "root": root, "roots": sorted(set(roots)), "equals_live": equal}
        self._tell("save", data)

    def _name(self, module: nn.Module) -> str:
        for entry, model in self.recorder.registry.live_models():
            if model is module:
                return str(entry.name)
        return self.recorder.name_of(module) or type(module).__name__

    def finish(self) -> None:
        for name, steps in self._taken.items():
            data = {"root": name, "steps": steps}
            self.recorder.fact("states_taken", subject=name, data=data, where=self._taken_at.get(name))
        self._look(True)
        given = (t for t in (r() for r in self._given_weights) if t is not None)
        known = (self.recorder.parameter_name(t) for t in given)
        names = sorted({name for name in known if name is not None})
        if names:
            self.recorder.fact("weights_given", data={"names": names})


def tied(module: nn.Module) -> list[list[str]]:
    """Names of parameters that are one tensor, group by group."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def plain_tensors(module: nn.Module) -> dict[str, str]:
    """Prints of small floating tensors and arrays among the plain attributes of a model's own modules."""
    found: dict[str, str] = {}
    for path, part in module.named_modules():
        if type(part).__module__.startswith("torch."):
            continue
        for name, value in vars(part).items():
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) and value.is_floating_point() else value
            if isinstance(array, np.ndarray) and array.dtype.kind == "f" and 0 < array.size <= MAX_PLAIN:
                found[f"{path}.{name}".lstrip(".")] = (
                    f"{array.shape} {float(np.abs(array).sum()):.6g} {float(array.sum()):.6g}"
                )
    return found


def _aliases(module: nn.Module, state: Any) -> bool:
    """True when a model is given the very tensors that it already has: loading them back changes nothing."""
    if not isinstance(state, Mapping):
        return False
    live = {p.data_ptr() for p in module.parameters() if p.numel()}
    return any(isinstance(t, Tensor) and t.numel() and t.data_ptr() in live for t in state.values())


RUNS: Final = (1, 2, 4, 8)
OTHER: Final = 0.2
"""Distance along one direction, in norms of the weight, from which on it is another weight and not a rounded one."""


@dataclass(frozen=True)
class Print:
    """Numbers that change when a parameter does."""

    size: float
    """Sum of absolute values: any change of the parameter changes it, for all practical purposes."""
    norm: float
    along: tuple[float, ...]
    """Sums with alternating signs, in runs of several lengths: a new draw moves them by about a norm, rounding by
    a thousandth of that."""
    matrix: bool

    def replaced_by(self, other: Print) -> bool:
        """Whether the other is a parameter of its own rather than this one with a small change."""
        moved = max((abs(a - b) for a, b in zip(self.along, other.along, strict=True)), default=0.0)
        return moved > OTHER * max(self.norm, other.norm)


def _prints(module: nn.Module) -> dict[str, Print]:
    """The print of each parameter."""
    named = [(n, p) for n, p in module.named_parameters() if p.is_floating_point() and not p.is_meta]
    if not named:
        return {}
    with torch.no_grad():
        rows = torch.stack([_numbers(p.detach().double().flatten()).cpu() for _, p in named]).tolist()
    return {n: Print(row[0], row[1], tuple(row[2:]), p.dim() > 1) for (n, p), row in zip(named, rows, strict=True)}


def _replaced(then: dict[str, Print], now: dict[str, Print]) -> dict[str, Any]:
    """Which matrices and kernels are other weights now than the ones that were loaded."""
    weights = [n for n, value in then.items() if value.matrix]
    replaced = [n for n in weights if n in now and then[n].replaced_by(now[n])]
    first = bool(replaced) and replaced[0] == weights[0]
    return {"n_weights": len(weights), "replaced": replaced[:MAX_NAMES], "from_the_first": first}


def _numbers(flat: Tensor) -> Tensor:
    runs = [flat[: len(flat) // (2 * n) * 2 * n].view(-1, 2, n).sum((0, 2)) for n in RUNS]
    return torch.stack([flat.abs().sum(), flat.norm(), *(pair[0] - pair[1] for pair in runs)])


def _tensors(obj: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Tensors inside a saved object, each with the name under which it stands."""
    if isinstance(obj, Tensor):
        yield name, obj
    elif isinstance(obj, nn.Module):
        yield from obj.named_parameters()
    elif isinstance(obj, Mapping) and depth < 3:
        for key, value in list(obj.items())[:MAX_SAVED]:
            yield from _tensors(value, str(key), depth + 1)
    elif isinstance(obj, (list, tuple)) and depth < 3:
        for value in obj[:MAX_SAVED]:
            yield from _tensors(value, name, depth + 1)
