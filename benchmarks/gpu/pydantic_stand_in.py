"""The part of pydantic that configurations need, for interpreters without it.

Fields have their defaults, sections are made from mappings, and validators run. Types and ranges
are not checked: the settings here are the program's own.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self, get_args, get_type_hints

Function = Callable[..., Any]
SerializerFunctionWrapHandler = Callable[[Any], dict[str, Any]]
ConfigDict = dict


class ValidationError(ValueError):
    """A field that a configuration doesn't have."""


def Field(default: Any, **_: object) -> Any:  # noqa: N802  # pydantic's name
    """Return the default of a field, without its range."""
    return default


@dataclass(frozen=True)
class _Hook:
    """A method that validates, `before` or `after`, or that serializes, `wrap`."""

    mode: str
    function: Any


def model_validator(*, mode: str) -> Function:
    """Mark a validator."""
    return lambda function: _Hook(mode, function)


model_serializer = model_validator


class BaseModel:
    """A configuration, or a section of one."""

    def __init__(self, **given: Any) -> None:
        cls = type(self)
        for hook in self._hooks("before"):
            given = hook.__get__(None, cls)(given)
        hints = cls._hints()
        if unknown := sorted(given.keys() - hints.keys()):
            raise ValidationError(f"{cls.__name__} has no {', '.join(unknown)}")
        for name, hint in hints.items():
            value = given[name] if name in given else getattr(cls, name)
            self.__dict__[name] = _as_section(value, hint)
        self.__dict__["model_fields_set"] = set(given)
        for hook in self._hooks("after"):
            hook(self)

    @classmethod
    def model_validate(cls, value: Any) -> Self:
        """Return the configuration with the fields of a mapping."""
        return value if isinstance(value, cls) else cls(**value)

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return a copy with other values of some fields."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__, **update)
        return copied

    def model_dump(self, *, mode: str = "python", exclude: Collection[str] = ()) -> dict[str, Any]:
        """Return the fields, with sections as mappings, and with lists for tuples as in JSON."""

        def fields_of(_: object) -> dict[str, Any]:
            return {name: _plain(getattr(self, name), mode) for name in self._hints()}

        dumped = fields_of(self)
        for hook in self._hooks("wrap"):
            dumped = hook(self, fields_of)
        return {name: value for name, value in dumped.items() if name not in exclude}

    @classmethod
    def _hints(cls) -> dict[str, Any]:
        return get_type_hints(cls)

    @classmethod
    def _hooks(cls, mode: str) -> list[Any]:
        hooks = [value for base in reversed(cls.__mro__) for value in vars(base).values()]
        return [h.function for h in hooks if isinstance(h, _Hook) and h.mode == mode]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model_dump()})"


def _as_section(value: Any, hint: Any) -> Any:
    """Return a mapping as the section that the field's annotation names."""
    sections = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
    for kind in sections:
        if isinstance(value, Mapping) and issubclass(kind, BaseModel):
            return kind.model_validate(value)
    return value


def _plain(value: Any, mode: str) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode=mode)
    if isinstance(value, tuple) and mode == "json":
        return [_plain(item, mode) for item in value]
    return value
