"""What a module is, in plain words: its kind, its settings, the range of its output."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

_KINDS: Final[tuple[tuple[str, tuple[type[nn.Module], ...]], ...]] = (
    ("linear", (nn.Linear, nn.Bilinear)),
    ("conv", (nn.modules.conv._ConvNd,)),
    ("norm", (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)),
    ("dropout", (nn.modules.dropout._DropoutNd,)),
    ("embedding", (nn.Embedding, nn.EmbeddingBag)),
    ("rnn", (nn.RNNBase, nn.RNNCellBase)),
    ("attention", (nn.MultiheadAttention,)),
    (
        "pool",
        (
            nn.modules.pooling._MaxPoolNd,
            nn.modules.pooling._AvgPoolNd,
            nn.modules.pooling._AdaptiveAvgPoolNd,
            nn.modules.pooling._AdaptiveMaxPoolNd,
        ),
    ),
    ("shape", (nn.Flatten, nn.Unflatten, nn.Identity, nn.PixelShuffle, nn.Upsample, nn.Fold, nn.Unfold)),
    ("container", (nn.Sequential, nn.ModuleList, nn.ModuleDict)),
)
_BOUNDS: Final[dict[type[nn.Module], tuple[float, float]]] = {
    nn.Sigmoid: (0.0, 1.0),
    nn.Softmax: (0.0, 1.0),
    nn.Softmax2d: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Tanh: (-1.0, 1.0),
    nn.Hardtanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
}
_SETTINGS: Final = (
    "in_features",
    "out_features",
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "groups",
    "num_features",
    "normalized_shape",
    "num_groups",
    "eps",
    "momentum",
    "affine",
    "track_running_stats",
    "p",
    "inplace",
    "dim",
    "negative_slope",
    "num_embeddings",
    "embedding_dim",
    "padding_idx",
    "sparse",
    "max_norm",
    "input_size",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "batch_first",
    "nonlinearity",
    "embed_dim",
    "num_heads",
    "dropout",
    "start_dim",
    "ceil_mode",
)


def kind(module: nn.Module) -> str:
    """One of the kinds of `LayerInfo.kind`."""
    for name, classes in _KINDS:
        if isinstance(module, classes):
            return name
    if type(module).__module__ == "torch.nn.modules.activation":
        return "activation"
    if "RMSNorm" in type(module).__name__:
        return "norm"
    return "container" if next(module.children(), None) is not None else "other"


def config(module: nn.Module) -> dict[str, Any]:
    """Plain attributes that matter."""
    own = vars(module)
    found: dict[str, Any] = {k: plain_setting(own[k]) for k in _SETTINGS if k in own and _is_plain(own[k])}
    if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
        found["bias"] = module.bias is not None
    return found


def bounds(module: nn.Module) -> tuple[float, float] | None:
    """Range of a bounded activation's output."""
    return _BOUNDS.get(type(module))


def channels_first(module: nn.Module) -> bool:
    """Whether a three-dimensional output carries its features along dimension 1."""
    return isinstance(module, (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase)) or kind(module) == "pool"


def plain_setting(value: Any) -> Any:
    """A setting as it can be written down."""
    return list(value) if isinstance(value, tuple) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str))


def shape(value: Any) -> str:
    """A value in one word: `float32[16, 32]` for tensors."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype)[6:]}{list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {shape(v)}" for k, v in list(value.items())[:8]) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(shape(v) for v in value[:8]) + ")"
    return type(value).__name__
