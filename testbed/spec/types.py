"""The scalar types of spec files: text with units in YAML, SI base units in the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from testbed import units


def _reader(parse: Callable[[str], float | int], example: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"{value!r} needs a number with a unit, for example {example}")
        if isinstance(value, str):
            return parse(value)
        return value

    return read


def _quantity(parse: Callable[[str], float | int], example: str) -> tuple[Any, ...]:
    schema = WithJsonSchema({"anyOf": [{"type": "string", "examples": [example]}, {"type": "number"}]})
    return BeforeValidator(_reader(parse, example)), schema


# Bits per second.
Rate = Annotated[int, Field(gt=0), *_quantity(units.parse_rate, "500Mbit")]
# Bytes.
Size = Annotated[int, Field(gt=0), *_quantity(units.parse_size, "2GiB")]
# Seconds.
Duration = Annotated[float, Field(ge=0), *_quantity(units.parse_duration, "15s")]
# 0..1.
Ratio = Annotated[float, Field(ge=0, le=1), *_quantity(units.parse_ratio, "0.1%")]
# A node, link or scenario name: letters, digits, - and _; starts with a letter.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]

# Who delays and loses packets: netem where the kernel has it (auto), or the one named (docs/impairments.md).
Impairments = Literal["auto", "netem", "delayline"]


class Spec(BaseModel):
    """Base of everything that is asked for: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=False)
