"""The only place that makes a language model: time limits, capped retries, no cache, only the named provider's key."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from aitia.agent.errors import ConfigurationError, LanguageModelError

if TYPE_CHECKING:
    import dspy

T = TypeVar("T")

KEYS: Final[dict[str, str]] = {
    "openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "gemini": "GEMINI_API_KEY", "groq": "GROQ_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY", "xai": "XAI_API_KEY", "openrouter": "OPENROUTER_API_KEY",
    "mistral": "MISTRAL_API_KEY", "together_ai": "TOGETHER_API_KEY",
}  # fmt: skip
"""Provider → the variable its key is taken from. No other variable is ever read."""
LOCAL: Final[dict[str, str]] = {
    "ollama": "http://localhost:11434/v1",
    "vllm": "http://localhost:8000/v1",
    "lm_studio": "http://localhost:1234/v1",
}
"""Providers without a key, and where they listen unless told otherwise."""
SPOKEN: Final[dict[str, str]] = {
    "ollama": "ollama_chat", "vllm": "hosted_vllm",
    "lm_studio": "hosted_vllm",
}  # fmt: skip
"""Provider → its name in dspy: those that it speaks to itself, without a slow and heavy gateway in between."""
OWN_KEY = "AITIA_API_KEY"
"""Key for an endpoint named with --api-base: a provider's key is never sent to another host."""

CALL_SECONDS = 60.0
"""Per read; a local model on a laptop needs most of it."""
TOTAL_SECONDS = 180.0
"""For everything a diagnosis asks a model, retries included: a server that trickles never times out by itself."""
RETRIES = 2
LONGEST_WAIT = 20.0
"""A server may ask to wait an hour (Retry-After); nobody waits for a second opinion that long."""
FIRST_WAIT = 1.0
MAX_TOKENS = 2000
REASONING = re.compile(r"^(o\d|gpt-5)")
"""Models that take no temperature, and spend output tokens on thinking."""
REASONING_TOKENS = 16000


def make_lm(model: str, api_base: str | None = None) -> dspy.LM:
    """The model of that name, e.g. `openai/gpt-4.1`, `ollama/qwen3:8b`, `replay/talk.jsonl`."""
    provider, name = split(model)
    dspy = quiet_dspy()
    if provider == "replay":
        from aitia.agent.replay_lm import replay

        return replay(name)
    reasoning = REASONING.match(name.rpartition("/")[2]) is not None
    settings: dict[str, Any] = {
        "cache": False, "num_retries": 0, "timeout": CALL_SECONDS,
        "temperature": 1.0 if reasoning else 0.0, "max_tokens": REASONING_TOKENS if reasoning else MAX_TOKENS,
        "api_key": key_for(provider, api_base),
    }  # fmt: skip
    base = base_for(provider, api_base)
    if base is not None:
        settings["api_base"] = base
    try:
        made: Any = dspy.LM(f"{SPOKEN.get(provider, provider)}/{name}", **settings)
        made.named = model
        return made
    except dspy.LMConfigurationError as error:
        raise ConfigurationError(f"{model} cannot be used: {error}") from None


def name_of(lm: dspy.LM) -> str:
    """The model's name as the user wrote it."""
    return str(getattr(lm, "named", lm.model))


def split(model: str) -> tuple[str, str]:
    """Provider and name. Raises `ConfigurationError` where the provider is missing."""
    provider, slash, name = model.partition("/")
    if not slash or not name:
        raise ConfigurationError(
            f"{model!r} names no provider. Write it as provider/model, e.g. openai/{model or 'gpt-4.1'}, "
            f"anthropic/…, ollama/…; an OpenAI-compatible server: openai/NAME with --api-base URL."
        )
    return {"ollama_chat": "ollama", "hosted_vllm": "vllm"}.get(provider, provider), name


def base_for(provider: str, given: str | None) -> str | None:
    """Where to send requests; local servers, and addresses without a path, speak the protocol under `/v1`.

    Raises `ConfigurationError` for what is no address.
    """
    base = (given or LOCAL.get(provider) or "").rstrip("/")
    if not base:
        return None
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ConfigurationError(f"--api-base expects an address like http://localhost:8000/v1, found {given!r}.")
    if (provider in LOCAL or not parts.path) and not base.endswith("/v1"):
        base += "/v1"
    return base


def key_for(provider: str, api_base: str | None) -> str:
    """The key of the named provider, and of no other; for another host only the one meant for it."""
    if api_base is not None or provider in LOCAL:
        return os.environ.get(OWN_KEY) or "none"
    variable = KEYS.get(provider, f"{provider.upper()}_API_KEY")
    key = os.environ.get(variable)
    if not key:
        raise ConfigurationError(f"{provider} needs a key: set {variable}.")
    return key


def quiet_dspy() -> Any:
    """dspy, imported when it is needed, without its download of a price list."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    try:
        import dspy
    except ImportError:
        raise ConfigurationError("a language model needs dspy: pip install 'aitia[llm]'") from None
    return dspy


def patient(call: Callable[[], T], deadline: float = math.inf, sleep: Callable[[float], None] = time.sleep) -> T:
    """Make a call, again after errors that may pass; refusals are raised as `LanguageModelError`."""
    dspy = quiet_dspy()
    for attempt in range(RETRIES + 1):
        try:
            return call()
        except dspy.LMError as error:
            if _refused(dspy, error):
                raise LanguageModelError(
                    f"the language model refused ({type(error).__name__}): {first_line(error)} "
                    "(check its name, the key, the credit and --api-base)"
                ) from None
            if isinstance(error.__cause__, LanguageModelError):  # of an engine of ours, wrapped on its way
                raise error.__cause__ from None
            wait = min(getattr(error, "retry_after", None) or FIRST_WAIT * 2**attempt, LONGEST_WAIT)
            if attempt == RETRIES or not dspy.is_retryable_lm_error(error) or time.monotonic() + wait > deadline:
                raise
            sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _refused(dspy: Any, error: Exception) -> bool:
    """Whether the user has to mend something. Providers word a wrong name or no credit as an invalid request, too."""
    if isinstance(error, dspy.ContextWindowExceededError):
        return False
    return isinstance(
        error, (dspy.LMAuthError, dspy.LMBillingError, dspy.LMConfigurationError, dspy.LMInvalidRequestError)
    )


def within(seconds: float, work: Callable[[], T]) -> T:
    """Run `work` for at most so long; then leave it behind (a daemon thread) and raise `TimeoutError`."""
    result: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            failure.append(error)

    thread = threading.Thread(target=target, name="aitia-lm", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the language model did not answer within {seconds:g} s")
    if failure:
        raise failure[0]
    return result[0]


def first_line(error: BaseException) -> str:
    """The first line of an error's text, short and without secrets."""
    from aitia.agent.redact import redact

    return redact(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)[:200]
