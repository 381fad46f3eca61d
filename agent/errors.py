"""What can go wrong in the agent.

```
AitiaError                     shown as one line, exit code 2
└── AgentError                 base of the agent's own
    ├── AnalysisError          the request names nothing that can be analyzed
    ├── ProfilingError         a measurement that was asked for could not be taken
    ├── MonitoringError        an unknown metric or threshold
    ├── ConfigurationError     settings that contradict each other, or a model without a provider
    └── LanguageModelError     the named model refused: wrong key, no credit, no such model
```
A model that is merely unreachable or talks nonsense is no error: the rules answer, and the answer says so.
"""

from __future__ import annotations

from aitia.engine.store.errors import AitiaError


class AgentError(AitiaError):
    """Base of the agent's errors."""


class AnalysisError(AgentError):
    """Nothing to analyze under that name."""


class ProfilingError(AgentError):
    """A measurement could not be taken."""


class MonitoringError(AgentError):
    """No such metric, or a threshold that is no number."""


class ConfigurationError(AgentError):
    """Settings that cannot work."""


class LanguageModelError(AgentError):
    """The named language model cannot be used as configured."""
