"""Random YAML texts, written by hand rather than by a library, so that every style that people use comes up."""

from __future__ import annotations

from hypothesis import strategies as st

PLAIN = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_./@-]{0,12}", fullmatch=True).filter(
    lambda word: word.lower() not in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
)
WILD = st.text(
    st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\x85\ufeff\ufffe\uffff"), max_size=12
)
KEYS = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
COMMENT = st.sampled_from(["", "", "", " # a comment", '  # {"$imagepolicy": "flux-system:podinfo"}', " # größer 🐤"])


def single_quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def double_quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def scalar(draw: st.DrawFn, *, flow: bool) -> str:
    kind = draw(st.sampled_from(["plain", "plain", "single", "double", "block"]))
    if kind == "plain":
        return draw(PLAIN)
    if kind == "block" and not flow:
        return draw(st.sampled_from(["|", ">", "|-", ">+"])) + "\0"  # filled in by the one who knows the indentation
    text = draw(WILD)
    return single_quoted(text) if kind == "single" else double_quoted(text)


@st.composite
def flow(draw: st.DrawFn, depth: int) -> str:
    space = draw(st.sampled_from(["", " ", "  "]))
    if depth == 0 or draw(st.booleans()):
        return draw(scalar(flow=True))
    if draw(st.booleans()):
        items = draw(st.lists(flow(depth - 1), max_size=3))
        return "[" + space + f",{space or ' '}".join(items) + space + "]"
    keys = draw(st.lists(KEYS, max_size=3, unique=True))
    return "{" + space + f",{space or ' '}".join(f"{key}: {draw(flow(depth - 1))}" for key in keys) + space + "}"


@st.composite
def block(draw: st.DrawFn, depth: int, indent: int) -> list[str]:
    """Lines of a block mapping or sequence."""
    step = draw(st.sampled_from([2, 4]))
    pad = " " * indent
    sequence = draw(st.booleans())
    names = [None] * draw(st.integers(1, 3)) if sequence else draw(st.lists(KEYS, min_size=1, max_size=4, unique=True))
    lines = []
    for name in names:
        head = f"{pad}-" if name is None else f"{pad}{name}:"
        if depth and draw(st.booleans()):
            lines += [head + draw(COMMENT), *draw(block(depth - 1, indent + step))]
            continue
        value = draw(st.one_of(scalar(flow=False), flow(2)))
        if value.endswith("\0"):
            lines += [f"{head} {value[:-1]}", *(f"{pad}{' ' * step}{line}" for line in draw(st.lists(PLAIN, min_size=1, max_size=3)))]
        else:
            lines.append(f"{head} {value}{draw(COMMENT)}")
        if draw(st.integers(0, 5)) == 0:
            lines.append(draw(st.sampled_from(["", f"{pad}# between", "  "])))
    return lines


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Whole files: several documents, CRLF or LF, with or without a BOM and a final newline."""
    documents = [draw(block(draw(st.integers(0, 3)), 0)) for _ in range(draw(st.integers(1, 3)))]
    lines: list[str] = []
    for number, document in enumerate(documents):
        if number or draw(st.booleans()):
            lines.append(draw(st.sampled_from(["---", "--- # next"])))
        lines += document
        if draw(st.integers(0, 4)) == 0:
            lines.append("...")
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    end = draw(st.sampled_from([newline, "", newline * 2]))
    return draw(st.sampled_from(["", "", "\ufeff"])) + newline.join(lines) + end
