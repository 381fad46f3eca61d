"""Takes secrets and personal paths out of text before it leaves the machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

HIDDEN = "[redacted]"
SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
SHORTEST = 8
"""Values of secret variables shorter than this would also hit ordinary words."""

PATTERNS: Final = (
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_\-]{16,}"),  # OpenAI, Anthropic, Stripe
    re.compile(r"\b(?:ghp|gho|ghs|ghu|github_pat|glpat|hf|xox[abprs]|npm|pypi)[_\-][A-Za-z0-9_\-]{16,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS
    re.compile(r"\bAIza[A-Za-z0-9_\-]{30,}"),  # Google
    re.compile(r"\beyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]*"),  # JSON web tokens
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
    re.compile(r"(?<=[Bb]earer )[A-Za-z0-9_\-.=]{12,}"),
    re.compile(r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"),  # user:password in an address
)
ASSIGNMENT = re.compile(
    r"""(?P<name>[\w\-]*(?:api_?key|token|secret|passw(?:or)?d|credential)[\w\-]*["']?\s*[:=]\s*)(?P<q>["'])(?!\s*(?P=q))[^"'\n]{4,}(?P=q)""",
    re.IGNORECASE,
)
HOME = re.compile(r"(?:/home/|/Users/|C:\\Users\\)[^/\\\s\"']+")
MAIL = re.compile(r"\b[\w.+\-]+@[\w\-]+\.[\w.\-]+\b")


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text without keys, passwords, mail addresses and the name of the home folder."""
    variables = os.environ if environment is None else environment
    for name, value in variables.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST and not value.startswith("/"):
            text = text.replace(value, HIDDEN)
    for pattern in PATTERNS:
        text = pattern.sub(HIDDEN, text)
    text = ASSIGNMENT.sub(lambda m: f"{m['name']}{m['q']}{HIDDEN}{m['q']}", text)
    return MAIL.sub(HIDDEN, HOME.sub("~", text))
