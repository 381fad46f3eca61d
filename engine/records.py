"""The types that cross rooms: frozen, closed, and the vocabulary of every answer."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DIAGNOSIS_SCHEMA: Literal[1] = 1
"""Version of the public JSON of `Diagnosis`."""

MAX_HYPOTHESES = 5
"""An answer longer than this is a list of suspicions, not an answer."""


class Record(BaseModel):
    """Base of every stored fact: immutable, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


# --------------------------------------------------------------------------- the run


class RunStatus(StrEnum):
    """How a run ended, or that it has not."""

    RUNNING = "running"
    FINISHED = "finished"
    CRASHED = "crashed"
    KILLED = "killed"
    STOPPED = "stopped"


class Failure(Record):
    """The exception that ended a run, and where it struck."""

    type: str
    """Class name of the exception, e.g. `RuntimeError`."""
    message: str
    """Untrusted: text of the exception."""
    traceback: str
    """Untrusted: formatted traceback, the recorder's own frames removed."""
    file: str | None = None
    """Innermost file of the user's own code, relative to the run's working directory."""
    line: int | None = None
    module: str | None = None
    """Dotted path of the innermost `nn.Module` that was running."""
    module_class: str | None = None
    inputs: tuple[str, ...] = ()
    """What that module received, e.g. `float32[16, 32]`."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Shapes of that module's own parameters, e.g. `{"weight": "float32[4, 33]"}`."""
    phase: str | None = None
    """One of forward, loss, backward, step, data, other."""


class RunInfo(Record):
    """Identity and circumstances of a run."""

    id: str
    command: tuple[str, ...] = ()
    """What was run, e.g. `("train.py", "--lr", "0.1")`."""
    cwd: str = ""
    created: float = 0.0
    """Unix time, seconds."""
    ended: float | None = None
    status: RunStatus = RunStatus.RUNNING
    exit_code: int | None = None
    failure: Failure | None = None
    pid: int | None = None
    rank: int = 0
    world_size: int = 1
    group: str | None = None
    """What the ranks of one program have in common: machine and parent process. None for a single process."""
    versions: dict[str, str] = Field(default_factory=dict)
    """`{"python": "3.11.7", "torch": "2.13.0", "aitia": "0.1.0"}`."""
    device: str = "cpu"
    script: str | None = None
    """The accused program's main file, relative to `cwd`."""
    level: Literal["light", "normal", "deep"] = "normal"
    """How much was measured."""


class LayerInfo(Record):
    """One module of the watched model."""

    index: int
    """Column in the `layer` table."""
    name: str
    """Dotted path; with several models the model's name comes first, e.g. `generator.net.0`."""
    cls: str
    """Class name, e.g. `Linear`."""
    kind: str
    """One of linear, conv, norm, activation, dropout, embedding, rnn, attention, pool, shape, container, other."""
    root: str
    """Name of the model it belongs to."""
    leaf: bool = True
    parameters: tuple[str, ...] = ()
    """Names of the parameters that it owns directly."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Plain attributes that matter: in_features, out_features, p, eps, momentum, inplace, num_embeddings …"""


class ParameterInfo(Record):
    """One parameter tensor: of the model, of the optimizer, or of both."""

    index: int
    """Column in the `param` table."""
    name: str
    """Dotted path in the model; `?N` for one that only the optimizer holds."""
    layer: str | None
    """The module that owns it; None when no watched model does."""
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool
    in_model: bool = True
    optimizers: tuple[int, ...] = ()
    """Indices of the optimizers that hold it when the first step is taken (or at the end, if none ever was)."""
    group: int | None = None
    """Its group within the first of these optimizers."""
    tied_to: str | None = None
    """Name of the parameter that shares this storage."""


class OptimizerInfo(Record):
    """One optimizer, as it was built."""

    index: int
    name: str
    """The user's variable name where it could be found, else the class name."""
    cls: str
    groups: tuple[dict[str, Any], ...] = ()
    """Hyperparameters of every group, without the tensors, plus `n_params`."""
    file: str | None = None
    line: int | None = None


class LossSite(Record):
    """One place in the user's code that calls a loss function."""

    index: int
    """Value of the `site` column in the `loss` table."""
    function: str
    """E.g. `cross_entropy`, `mse_loss`."""
    file: str | None = None
    line: int | None = None


class Fact(Record):
    """Something that happened once, or changed: a row of the `facts` table. `engine/store/schema` lists the kinds."""

    id: int
    step: int
    time: float
    """Seconds since the run began."""
    kind: str
    subject: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
    file: str | None = None
    """User's file, relative to the run's working directory."""
    line: int | None = None


# --------------------------------------------------------------------------- events


class EventType(StrEnum):
    """What kind of transition an event tells of."""

    GRADIENT_HEALTH = "gradient_health"
    ACTIVATION_HEALTH = "activation_health"
    PARAMETER_HEALTH = "parameter_health"
    LOSS_SHAPE = "loss_shape"
    OPTIMIZER = "optimizer"
    DATA = "data"
    MODE = "mode"
    NUMERICS = "numerics"
    RESOURCE = "resource"
    EXCEPTION = "exception"


class GradientHealth(StrEnum):
    """State of a layer's gradient flow."""

    HEALTHY = "healthy"
    VANISHING = "vanishing"
    EXPLODING = "exploding"
    SATURATED = "saturated"
    DEAD = "dead"
    ABSENT = "absent"
    NON_FINITE = "non_finite"


class SemanticEvent(Record):
    """A transition worth a sentence: what changed, where and when."""

    id: str
    type: EventType
    step: int
    subject: str
    """Dotted path of the layer or parameter, or a word such as `loss`."""
    before: str
    after: str
    value: float | None = None
    statement: str = ""
    last_step: int | None = None
    """Set when the state ended, or events of the same kind were folded into this one."""
    count: int = 1


# --------------------------------------------------------------------------- the answer

Phase = Literal["data", "setup", "forward", "loss", "backward", "step", "scheduler", "eval", "save", "loop"]
Verdict = Literal["healthy", "faulty", "unknown"]
Mode = Literal["rules", "llm", "rules_fallback"]
Rung = Literal["association", "intervention", "replay"]
Scalar = float | int | str | bool | None


class Evidence(Record):
    """One measured statement about a run, with the numbers behind it."""

    id: Annotated[str, Field(pattern=r"^E\d+$")]
    """Short handle that hypotheses and explanations cite, e.g. `E7`."""
    tool: str
    """Which tool's measurement it is, e.g. `gradient_debugger`."""
    statement: str
    """Rendered by us from `values`; never by a language model."""
    values: dict[str, Scalar] = Field(default_factory=dict)
    """The measurements, in SI units or dimensionless."""


class SourceLocation(Record):
    """Lines of the user's code."""

    file: str
    lines: tuple[int, ...]


class Fix(Record):
    """What to change so that the cause is gone."""

    summary: str
    kind: Literal["codemod", "config", "edit", "none"] = "none"
    diff: str | None = None
    """Unified diff against the snapshot of the user's source."""


class Verification(Record):
    """Whether the program was run again with this one thing changed, and what came of it."""

    status: Literal["proved", "refuted", "inconclusive", "not_run"] = "not_run"
    method: str = ""
    details: dict[str, Any] = Field(default_factory=dict)


class CausalHypothesis(Record):
    """One possible cause with all that speaks for and against it."""

    id: Annotated[str, Field(pattern=r"^H\d+$")]
    cause: str
    """Id of TAXONOMY, e.g. `optimizer.stale_param_reference`."""
    confidence: Annotated[float, Field(ge=0.0, le=1.0)]
    phase: Phase
    component: str | None = None
    """Dotted path of the accused module, parameter or object."""
    location: SourceLocation | None = None
    onset_step: int | None = None
    evidence: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    explanation: str = ""
    rung: Rung = "association"
    mistaken_for: tuple[str, ...] = ()
    """Look-alikes that were considered, each with the measurement that separates it."""
    fix: Fix | None = None
    verification: Verification = Verification()


class Diagnosis(Record):
    """The answer to: why did this run fail?"""

    schema_: Literal[1] = Field(default=DIAGNOSIS_SCHEMA, alias="schema")
    run: str
    verdict: Verdict
    mode: Mode = "rules"
    model: str | None = None
    summary: str
    onset_step: int | None = None
    hypotheses: Annotated[tuple[CausalHypothesis, ...], Field(max_length=MAX_HYPOTHESES)] = ()
    evidence: tuple[Evidence, ...] = ()
    next_measurements: tuple[str, ...] = ()
    cost: dict[str, float] = Field(default_factory=dict)
    """Seconds: `run_s`, `recorder_s` (within its steps), `experiments_s` (after its end) and their `budget_s`."""
    notes: tuple[str, ...] = ()
    """What is missing from the recording by a fault of the recorder; what was refused of a language model's answer, and
    why; why a model that was named was not asked."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True, ser_json_inf_nan="null"
    )
