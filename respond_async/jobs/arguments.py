"""A function's arguments: validated by their annotations, as JSON, and what FastAPI injects."""

import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fastapi.params import Depends
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from respond_async.errors import ConfigurationError
from respond_async.jobs.errors import TaskError

#: What `create_task` itself takes by name.
_TAKEN: Final = frozenset(
    {
        "function",
        "name",
        "channel",
        "timeout",
        "priority",
        "delay",
        "dedupe_key",
        "idempotent",
        "webhook",
        "concurrency_key",
    }
)


class Arguments:
    """The parameters of one function.

    Args:
        function: What is to be a job.
        name: What it is called in errors.

    Raises:
        ConfigurationError: A parameter cannot be validated or kept.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name: Final = name
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function, include_extras=True)
        plain: list[inspect.Parameter] = []
        self.injected: Final[list[inspect.Parameter]] = []
        for parameter in signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise ConfigurationError(
                    f"{name}: {parameter} cannot be kept by name: give it a name of its own"
                )
            if parameter.kind is parameter.VAR_KEYWORD:
                raise ConfigurationError(f"{name}: **{parameter.name} cannot be validated")
            if parameter.name in _TAKEN:
                raise ConfigurationError(
                    f"{name}: create_task has a {parameter.name} of its own: call the parameter"
                    " something else"
                )
            typed = parameter.replace(annotation=hints.get(parameter.name, Any))
            (self.injected if _is_injected(typed) else plain).append(typed)
        self._signature: Final = inspect.Signature(plain)
        try:
            self._adapters: Final[Mapping[str, TypeAdapter[Any]]] = {
                each.name: TypeAdapter(each.annotation) for each in plain
            }
            self._result: Final[TypeAdapter[Any]] = TypeAdapter(hints.get("return", Any))
        except PydanticUserError as error:
            raise ConfigurationError(f"{name}: {error.message}") from None

    def to_json(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call, validated, by name, as JSON can hold them.

        Raises:
            TaskError: `invalid_arguments`; its details name each.
        """
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise self._invalid([_Wrong("", str(error))]) from None
        given, wrong = {}, []
        for name, value in bound.arguments.items():
            adapter = self._adapters[name]
            try:
                given[name] = adapter.dump_python(adapter.validate_python(value), mode="json")
            except ValidationError as error:
                wrong += _wrong(name, error)
            except PydanticSerializationError as error:
                wrong.append(_Wrong(name, str(error)))
        if wrong:
            raise self._invalid(wrong)
        return given

    def from_json(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as the function takes them.

        Raises:
            TaskError: `invalid_arguments`: the function has changed since.
        """
        read, wrong = {}, []
        for name, value in given.items():
            try:
                read[name] = self._adapters[name].validate_json(json.dumps(value))
            except KeyError:
                wrong.append(_Wrong(name, "there is no such parameter"))
            except ValidationError as error:
                wrong += _wrong(name, error)
        if wrong:
            raise self._invalid(wrong)
        return read

    def result(self, value: Any) -> Any:
        """What the function gave, as JSON can hold it.

        Raises:
            TaskError: `invalid_result`.
        """
        try:
            return self._result.dump_python(value, mode="json", warnings=False)
        except PydanticSerializationError as error:
            raise TaskError("invalid_result", f"{self._name} gave no JSON: {error}") from None

    def of_names(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments, if all are parameters that a caller may give.

        Raises:
            TaskError: `invalid_arguments`: one is something else's name.
        """
        unknown = given.keys() - self._adapters.keys()
        if unknown:
            raise self._invalid([_Wrong(name, "there is no such parameter") for name in unknown])
        return given

    def json_schema(self) -> dict[str, Any]:
        """Of all arguments as one object; models that they share are in `$defs`."""
        inputs = [(name, "validation", adapter) for name, adapter in self._adapters.items()]
        parts, models = TypeAdapter.json_schemas(
            inputs,  # type: ignore[arg-type]
            ref_template="#/components/schemas/{model}",
        )
        whole = {
            "type": "object",
            "properties": {name: part for (name, _), part in parts.items()},
            "additionalProperties": False,
        }
        empty = inspect.Parameter.empty
        parameters = self._signature.parameters
        whole["required"] = [name for name, one in parameters.items() if one.default is empty]
        return {**whole, "$defs": models.get("$defs", {})}

    def _invalid(self, wrong: "Sequence[_Wrong]") -> TaskError:
        said = "; ".join(
            f"{each.where}: {each.what}" if each.where else each.what for each in wrong
        )
        details = {"errors": [each._asdict() for each in wrong]}
        return TaskError("invalid_arguments", f"{self._name}: {said}", details)


class _Wrong(NamedTuple):
    where: str
    what: str


def _wrong(name: str, error: ValidationError) -> list[_Wrong]:
    # Never the value: it may be a secret.
    return [
        _Wrong(".".join([name, *map(str, each["loc"])]), each["msg"])
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _is_injected(parameter: inspect.Parameter) -> bool:
    metadata = getattr(parameter.annotation, "__metadata__", ())
    return isinstance(parameter.default, Depends) or any(
        isinstance(each, Depends) for each in metadata
    )
