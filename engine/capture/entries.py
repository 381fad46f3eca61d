"""What the registry knows of a model, a layer, a parameter; weak references only."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class ModelEntry:
    """A module that the program calls by itself."""

    index: int
    name: str
    cls: str
    ref: weakref.ref[nn.Module]
    prefix: str = ""

    def module(self) -> nn.Module | None:
        """The module, while it lives."""
        return self.ref()


@dataclass
class LayerEntry:
    """A module of a watched model."""

    index: int
    name: str
    ref: weakref.ref[nn.Module]
    model: str
    leaf: bool
    bounds: tuple[float, float] | None
    channels: bool
    registered: bool = True
    owns: dict[str, int] = field(default_factory=dict)
    """Parameter's short name → identity, to see when it becomes another tensor."""


@dataclass
class ParameterEntry:
    """One parameter tensor."""

    index: int
    name: str
    ref: weakref.ref[Tensor]
    layer: str | None
    in_model: bool = True
    tied_to: str | None = None
    former: str | None = None
    held: set[int] = field(default_factory=set)
    group: int | None = None
    retired: bool = False
    """Another tensor has taken its place in the model."""
