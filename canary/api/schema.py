"""Models to structural OpenAPI schemas, with a description on every property from the docstring below each field.

Pydantic's own JSON schema was rejected as the source: it writes references, `anyOf` with null, titles and every default,
none of which a structural schema may or should hold, and undoing all that is longer than walking the models. Docstrings are
read from the source on demand, so that importing the models costs nothing for them.
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

Schema = dict[str, Any]
_RULES = ("oneOf", "anyOf", "allOf", "not")
_SCALARS: Mapping[object, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def schema_of(model: type[BaseModel]) -> Schema:
    """The structural schema of an object.

    Keys of `json_schema_extra` (rules between fields, CEL) come after the properties. A field with several validation
    aliases becomes as many properties. None of them is then required by itself, and the older spellings carry no rules
    between their fields: the model states both, for the case that the spelling is the one in use.
    """
    properties: Schema = {}
    required: list[str] = []
    for name, field in model.model_fields.items():
        names = wire_names(name, field)
        node = {"description": field_docs(model).get(name, ""), **_field_schema(field)}
        properties[names[0]] = node
        for wire in names[1:]:
            properties[wire] = {key: deepcopy(value) for key, value in node.items() if key not in _RULES}
        if field.is_required() and len(names) == 1:
            required.append(names[0])
    schema: Schema = {"type": "object"}
    if required:
        schema["required"] = required
    schema["properties"] = properties
    extra = model.model_config.get("json_schema_extra")
    return schema | deepcopy(extra) if isinstance(extra, dict) else schema


def wire_names(name: str, field: FieldInfo) -> tuple[str, ...]:
    """How JSON spells a field; the first is the current spelling."""
    if isinstance(field.validation_alias, AliasChoices):
        return tuple(str(choice) for choice in field.validation_alias.choices)
    return (field.alias or name,)


def _field_schema(field: FieldInfo) -> Schema:
    schema = _type_schema(field.annotation, field.metadata)
    extra = field.json_schema_extra
    return schema | deepcopy(extra) if isinstance(extra, dict) else schema


def _type_schema(annotation: Any, metadata: Iterable[object] = ()) -> Schema:
    """Schema of a type; the outermost `WithJsonSchema` wins over what the type would say."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type_schema(arguments[0], [*arguments[1:], *metadata])
    for item in reversed([*metadata]):
        if isinstance(item, WithJsonSchema):
            return deepcopy(item.json_schema or {})
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return _type_schema(inner)
    if origin is tuple:
        return {"type": "array", "items": _type_schema(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type_schema(arguments[1])}
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return schema_of(annotation)
    if inspect.isclass(annotation) and issubclass(annotation, enum.StrEnum):
        return {"type": "string", "enum": [member.value for member in annotation]}
    return {"type": _SCALARS[annotation]}


@functools.cache
def field_docs(model: type[BaseModel]) -> Mapping[str, str]:
    """The docstring below each field of a model, on one line, its base classes' included."""
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        docs |= _module_docs(base.__module__).get(base.__name__, {}) if issubclass(base, BaseModel) else {}
    return docs


@functools.cache
def _module_docs(module: str) -> Mapping[str, Mapping[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _class_docs(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _class_docs(node: ast.ClassDef) -> Mapping[str, str]:
    docs = {}
    for statement, following in zip(node.body, node.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                docs[name] = " ".join(text.split())
            case _:
                pass
    return docs
