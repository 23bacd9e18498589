"""The part of Go's text/template that metric queries are written in.

Queries of existing MetricTemplates are Go templates with functions (`{{ namespace }}`, `{{ variables.key }}`), conditions and
`printf` (reference flagger-analysis 1.5), so they must mean the same here. No maintained Python implementation exists; Jinja2 has
another grammar. What is left out (`range`, `define`, `template`, `block`, assignments) is refused by name, not ignored.

Grammar: text, `{{- trim -}}`, comments, pipelines `a | b`, calls `f x "y"`, `(sub expressions)`, `map.key` field access, strings,
raw strings, numbers, booleans, `if` / `else if` / `else` / `with` / `end`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

Functions = Mapping[str, Callable[..., Any]]


class TemplateError(ValueError):
    """The template does not parse, or asks for something that is not there; the text says what and where."""


_ACTION = re.compile(
    r"\{\{(?P<left>-(?=\s))?(?P<body>(?:\"(?:\\.|[^\"\\])*\"|`[^`]*`|/\*.*?\*/|[^}]|\}(?!\}))*?)(?P<right>(?<=\s)-)?\}\}", re.DOTALL
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*")|(?P<raw>`[^`]*`)|(?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|(?P<field>\.[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|(?P<dot>\.)|(?P<punct>[()|]))""",
    re.VERBOSE,
)
_REFUSED = ("range", "define", "template", "block", "break", "continue")


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Output:
    tokens: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Branch:
    """`if` or `with`: (condition, body) in order; an empty condition is `else`."""

    word: str
    arms: tuple[tuple[tuple[tuple[str, str], ...], tuple[Any, ...]], ...]


def render(template: str, functions: Functions) -> str:
    """The rendered text. Raises TemplateError."""
    pieces = _pieces(template)
    nodes, rest = _parse(pieces, 0, nested=False)
    if rest != len(pieces):
        raise TemplateError("unexpected {{ end }} or {{ else }}")
    return "".join(_Run({**BUILTINS, **functions}).emit(nodes))


def _pieces(template: str) -> list[str | tuple[tuple[str, str], ...]]:
    """Text and tokenised actions, with trim markers applied."""
    pieces: list[str | tuple[tuple[str, str], ...]] = []
    position, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[position : match.start()]
        text = text.lstrip() if trim else text
        text = text.rstrip() if match["left"] else text
        body = match["body"].strip()
        pieces.append(text)
        if not (body.startswith("/*") and body.endswith("*/")):
            pieces.append(_tokens(body))
        position, trim = match.end(), bool(match["right"])
    tail = template[position:]
    if "{{" in tail:
        raise TemplateError(f"unclosed action: {tail[tail.index('{{') :][:40]!r}")
    pieces.append(tail.lstrip() if trim else tail)
    return pieces


def _tokens(body: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(body):
        match = _TOKEN.match(body, position)
        if not match:
            raise TemplateError(f"cannot read {body[position:].strip()[:40]!r} in {{{{ {body} }}}}")
        found.append((match.lastgroup or "", match[match.lastgroup or 0]))
        position = match.end()
    if not found:
        raise TemplateError("empty action {{ }}")
    return tuple(found)


def _parse(pieces: Sequence[Any], at: int, *, nested: bool) -> tuple[tuple[Any, ...], int]:
    """Nodes up to the `end` or `else` that closes this level (left for the caller), or up to the end of the template."""
    nodes: list[Any] = []
    while at < len(pieces):
        piece = pieces[at]
        if isinstance(piece, str):
            nodes.append(_Text(piece))
            at += 1
            continue
        word = piece[0][1]
        if word in {"end", "else"}:
            if not nested:
                raise TemplateError(f"unexpected {{{{ {word} }}}}")
            return tuple(nodes), at
        if word in _REFUSED:
            raise TemplateError(f"{{{{ {word} }}}} is not supported in metric queries")
        if word in {"if", "with"}:
            node, at = _branch(pieces, at)
            nodes.append(node)
        else:
            nodes.append(_Output(piece))
            at += 1
    if nested:
        raise TemplateError("missing {{ end }}")
    return tuple(nodes), at


def _branch(pieces: Sequence[Any], at: int) -> tuple[_Branch, int]:
    word, condition = pieces[at][0][1], pieces[at][1:]
    arms = []
    while True:
        if not condition and pieces[at][0][1] != "else":
            raise TemplateError(f"{{{{ {word} }}}} needs a condition")
        body, at = _parse(pieces, at + 1, nested=True)
        arms.append((tuple(condition), body))
        closing = pieces[at]
        if closing[0][1] == "end":
            return _Branch(word, tuple(arms)), at + 1
        condition = closing[2:] if len(closing) > 1 and closing[1][1] in {"if", "with"} else ()


class _Run:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._dot: Any = None

    def emit(self, nodes: Sequence[Any]) -> list[str]:
        out: list[str] = []
        for node in nodes:
            if isinstance(node, _Text):
                out.append(node.text)
            elif isinstance(node, _Output):
                out.append(_text(self._pipeline(list(node.tokens))))
            else:
                out += self._choose(node)
        return out

    def _choose(self, node: _Branch) -> list[str]:
        for condition, body in node.arms:
            value = self._pipeline(list(condition)) if condition else True
            if condition and not value:
                continue
            before, self._dot = self._dot, value if node.word == "with" and condition else self._dot
            try:
                return self.emit(body)
            finally:
                self._dot = before
        return []

    def _pipeline(self, tokens: list[tuple[str, str]]) -> Any:
        value, piped = self._command(tokens, ()), True
        while tokens and tokens[0] == ("punct", "|"):
            tokens.pop(0)
            value = self._command(tokens, (value,))
        if tokens and piped:
            raise TemplateError(f"unexpected {tokens[0][1]!r}")
        return value

    def _command(self, tokens: list[tuple[str, str]], piped: tuple[Any, ...]) -> Any:
        if not tokens:
            raise TemplateError("missing value")
        kind, text = tokens[0]
        if kind == "name" and text not in {"true", "false", "nil"}:
            tokens.pop(0)
            head, *fields = text.split(".")
            if head not in self._functions:
                raise TemplateError(f"function {head!r} is not defined")
            arguments: list[Any] = []
            if not fields:
                arguments = self._arguments(tokens)
            return _fields(self._call(head, [*arguments, *piped]), fields)
        value = self._operand(tokens)
        if piped:
            raise TemplateError(f"{text!r} is not a function and takes no piped value")
        return value

    def _arguments(self, tokens: list[tuple[str, str]]) -> list[Any]:
        arguments = []
        while tokens and tokens[0] not in {("punct", "|"), ("punct", ")")}:
            arguments.append(self._operand(tokens))
        return arguments

    def _operand(self, tokens: list[tuple[str, str]]) -> Any:
        kind, text = tokens.pop(0)
        match kind:
            case "string":
                return _unquote(text)
            case "raw":
                return text[1:-1]
            case "number":
                return float(text) if any(c in text for c in ".eE") else int(text)
            case "dot":
                return self._dot
            case "field":
                return _fields(self._dot, text[1:].split("."))
            case "name":
                if text in {"true", "false", "nil"}:
                    return {"true": True, "false": False, "nil": None}[text]
                head, *fields = text.split(".")
                if head not in self._functions:
                    raise TemplateError(f"function {head!r} is not defined")
                return _fields(self._call(head, []), fields)
        if text == "(":
            depth = 1
            inner: list[tuple[str, str]] = []
            while tokens:
                token = tokens.pop(0)
                depth += {"(": 1, ")": -1}.get(token[1], 0) if token[0] == "punct" else 0
                if depth == 0:
                    return self._pipeline(inner)
                inner.append(token)
            raise TemplateError("missing )")
        raise TemplateError(f"unexpected {text!r}")

    def _call(self, name: str, arguments: list[Any]) -> Any:
        try:
            return self._functions[name](*arguments)
        except TemplateError:
            raise
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise TemplateError(f"{name}: {error}") from error


def _fields(value: Any, fields: Sequence[str]) -> Any:
    for name in fields:
        if not isinstance(value, Mapping):
            raise TemplateError(f"cannot take .{name} of something that is not a map")
        if name not in value:
            raise TemplateError(f"map has no entry for key {name!r}")
        value = value[name]
    return value


def _unquote(text: str) -> str:
    escapes = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}

    def one(match: re.Match[str]) -> str:
        if match[1] not in escapes:
            raise TemplateError(f"unknown escape \\{match[1]} in {text}")
        return escapes[match[1]]

    return re.sub(r"\\(.)", one, text[1:-1])


def _text(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value)


def _printf(pattern: str, *arguments: Any) -> str:
    """Go's verbs that queries use: %s %v %q %d %f %g %t %x %%, with width and precision."""
    rest = list(arguments)

    def one(match: re.Match[str]) -> str:
        flags, verb = match[1], match[2]
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        if verb in "sv":
            return str(f"%{flags}s" % _text(value))
        if verb == "q":
            return '"' + _text(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        if verb == "t":
            return _text(bool(value))
        return str(f"%{flags}{verb}" % value)

    return re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([svqdfgtxeX%])", one, pattern)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[key]
    return value


def _last_truth(arguments: Sequence[Any], *, wanted: bool) -> Any:
    """`and` / `or`: the first argument that decides, else the last."""
    for argument in arguments:
        if bool(argument) is wanted:
            return argument
    return arguments[-1]


BUILTINS: Functions = {
    "printf": _printf,
    "print": lambda *a: "".join(_text(v) for v in a),
    "println": lambda *a: " ".join(_text(v) for v in a) + "\n",
    "eq": lambda first, *rest: any(first == other for other in rest),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": lambda *a: _last_truth(a, wanted=False),
    "or": lambda *a: _last_truth(a, wanted=True),
    "not": lambda a: not a,
    "len": len,
    "index": _index,
    "urlquery": lambda *a: quote_plus("".join(_text(v) for v in a)),
}
"""Built-in functions of text/template that make sense in a query."""
