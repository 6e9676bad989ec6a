"""What Python 3.6 lacks of `dataclasses`, `enum` and `importlib.resources`, as far as bundled modules use them.

The bundler puts this in the place of these imports, for every version of Python: the agent behaves alike everywhere.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

RESOURCES: dict[str, str] = {}
"""Text files of bundled packages, by ``package/name``; the bundle fills it."""
_MISSING = object()


class StrEnum(str, enum.Enum):  # noqa: UP042 - it stands for it
    """Members are texts."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class _Field:
    def __init__(self, default: Any, factory: Callable[[], Any] | None, shown: bool) -> None:
        self.default = default
        self.factory = factory
        self.shown = shown


def field(*, default: Any = _MISSING, default_factory: Callable[[], Any] | None = None, repr: bool = True) -> Any:  # noqa: A002
    """See `dataclasses.field`."""
    return _Field(default, default_factory, repr)


def dataclass(cls: Any = None, **_: Any) -> Any:
    """See `dataclasses.dataclass`; fields in order, compared and shown, always frozen."""
    return _dressed(cls) if cls is not None else _dressed


def _dressed(cls: Any) -> Any:
    fields = {name: _field(cls.__dict__.get(name, _MISSING)) for name in cls.__annotations__}
    for name, row in fields.items():
        if row.default is _MISSING and name in cls.__dict__:
            delattr(cls, name)

    def init(self: Any, *args: Any, **more: Any) -> None:
        for name, value in _filled(cls.__name__, fields, args, more).items():
            object.__setattr__(self, name, value)

    def values(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in fields)

    def shown(self: Any) -> str:
        return f"{cls.__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n, row in fields.items() if row.shown)})"

    def refuse(self: Any, name: str, *_: Any) -> None:
        raise AttributeError(f"{cls.__name__}.{name} cannot be changed")

    cls.__init__ = init
    cls.__eq__ = lambda self, other: values(self) == values(other) if type(other) is cls else NotImplemented
    cls.__hash__ = lambda self: hash(values(self))
    cls.__repr__ = shown
    cls.__setattr__ = refuse
    cls.__delattr__ = refuse
    cls.__fields__ = tuple(fields)
    return cls


def _filled(owner: str, fields: dict[str, _Field], args: tuple[Any, ...], more: dict[str, Any]) -> dict[str, Any]:
    """The values of all *fields*, of those given and by default."""
    given = dict(zip(fields, args), **more)  # noqa: B905 - Python 3.6
    if len(args) > len(fields) or not set(given) <= set(fields):
        raise TypeError(f"{owner} has the fields {', '.join(fields)}")
    values = {}
    for name, row in fields.items():
        if name in given:
            values[name] = given[name]
        elif row.factory:
            values[name] = row.factory()
        elif row.default is not _MISSING:
            values[name] = row.default
        else:
            raise TypeError(f"{owner} needs {name}")
    return values


def _field(default: Any) -> _Field:
    return default if isinstance(default, _Field) else _Field(default, None, True)


def replace(thing: Any, **changes: Any) -> Any:
    """See `dataclasses.replace`."""
    return type(thing)(**{**{name: getattr(thing, name) for name in thing.__fields__}, **changes})


class _Resource:
    def __init__(self, path: str) -> None:
        self._path = path

    def joinpath(self, name: str) -> _Resource:
        return _Resource(f"{self._path}/{name}")

    __truediv__ = joinpath

    def read_text(self) -> str:
        return RESOURCES[self._path]

    def read_bytes(self) -> bytes:
        return self.read_text().encode()


class resources:  # noqa: N801 - it stands for a module
    """See `importlib.resources`."""

    @staticmethod
    def files(package: str) -> _Resource:
        """The files of a bundled package."""
        return _Resource(package)
