"""What settings check of themselves: the message names the setting, its value and what is allowed."""

from __future__ import annotations


def require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def counts(group: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(value is None or value >= 1, f"{group}.{name} is {value}; at least 1 (null where it may be left out)")
