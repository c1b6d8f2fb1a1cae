"""PTX as data: what a module's text declares, and each function's statements.

In: the text that `cuModuleLoadData` is given.  Out: a `Module`.  What always holds: a name means one register of one
width in a whole function (names of nested scopes are told apart); what the parser does not know is an error with its
line, as nothing may be passed over in silence.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field

SIZES = {"pred": 1, "b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "f16": 2, "b32": 4, "u32": 4, "s32": 4,
         "f32": 4, "b64": 8, "u64": 8, "s64": 8, "f64": 8}
LINKAGE = r"(?:\.(?:visible|extern|weak)\s+)?"
FUNCTION = re.compile(LINKAGE + r"\.(entry|func)\s*(?:\(([^)]*)\)\s*)?([\w$]+)\s*(?:\(([^)]*)\))?([^{;]*)([{;])")
VARIABLE = re.compile(r"(?:\.(visible|extern|weak)\s+)?\.(global|const|shared|local|param)\s+(?:\.align\s+(\d+)\s+)?"
                      r"\.(\w+)\s+([\w$]+)(?:\[(\d*)\])?(?:\s*=\s*(.*?))?\s*;", re.S)
POINTER = re.compile(r"\.ptr(?:\s+\.(?:global|shared|const|local))?(?:\s+\.align\s+\d+)?")
HEADER = re.compile(r"\.(version|target|address_size)\s+([^\n]+)\n")
LABEL = re.compile(r"([\w$]+):(?!:)")
REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(.*)", re.S)
STATEMENT = re.compile(r"(?:@(!?)([%\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.S)
OPERAND = re.compile(r"\s*(\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,{\[(]+)\s*(?:,|$)")


class PtxError(Exception):
    """A text that is no PTX, or says what nothing here knows."""


@dataclass(frozen=True)
class Variable:
    """Memory that a module or function declares; `size` None: as much as the launch says."""
    space: str
    name: str
    align: int
    size: int | None
    data: bytes = b""


@dataclass
class Statement:
    """An instruction: `guard` (a predicate, and whether it is negated), its name, its operands."""
    line: int
    text: str
    guard: tuple[str, bool] | None
    name: str
    operands: list[str]


@dataclass
class Function:
    """An entry, or a function that others call."""
    name: str
    entry: bool
    params: list[Variable]
    returns: list[Variable]
    limits: dict[str, tuple[int, ...]]
    registers: dict[str, str] = field(default_factory=dict)          # name -> type
    variables: list[Variable] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)             # -> number of a statement
    targets: dict[str, list[str]] = field(default_factory=dict)      # of indexed branches


@dataclass
class Module:
    version: tuple[int, int]
    target: tuple[int, int]
    variables: list[Variable]
    functions: dict[str, Function]


def parse(text: str) -> Module:
    """The module of a text."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)
    at, head, module = 0, dict[str, str](), Module((0, 0), (0, 0), [], {})
    while True:
        at += len(text[at:]) - len(text[at:].lstrip())
        if at == len(text):
            break
        if found := HEADER.match(text, at):
            head[found[1]] = found[2].strip()
            at = found.end()
        elif found := FUNCTION.match(text, at):
            at = found.end()
            if found[6] == "{":
                end = _closing(text, at)
                made = _function(found)
                _Body(made, text, at, end).read()
                module.functions[made.name] = made
                at = end + 1
        elif found := VARIABLE.match(text, at):
            module.variables.append(_variable(found))
            at = found.end()
        else:
            raise PtxError(f"line {_line(text, at)}: expected a declaration, found {text[at:at + 60]!r}")
    if head.get("address_size") != "64":
        raise PtxError(f"expected 64-bit addresses, found {head}")
    major, minor = head["version"].split(".")
    module.version = int(major), int(minor)
    number = re.fullmatch(r"sm_(\d+)(\d)", head["target"])
    if number is None:
        raise PtxError(f"expected `.target sm_NN`, found {head['target']!r}")
    module.target = int(number[1]), int(number[2])
    return module


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _closing(text: str, at: int) -> int:
    """Where the brace closes that was opened before `at`."""
    depth = 1
    for found in re.compile(r"[{}]").finditer(text, at):
        depth += 1 if found[0] == "{" else -1
        if not depth:
            return found.start()
    raise PtxError("a brace is not closed")


def _variable(found: re.Match[str]) -> Variable:
    linkage, space, align, kind, name, count, value = found.groups()
    if kind not in SIZES:
        raise PtxError(f"`{name}` is of an unknown type, `.{kind}`")
    item = SIZES[kind]
    size: int | None = item * int(count or 1)
    if count == "":
        if linkage != "extern" or space != "shared":
            raise PtxError(f"`{name}` has no size")
        size = None
    data = b""
    if value is not None:
        numbers = [int(x, 0) for x in value.strip("{} \n\t").split(",")]
        data = b"".join((x % (1 << 8 * item)).to_bytes(item, "little") for x in numbers)
    return Variable(space, name, int(align or item), size, data)


def _params(text: str | None) -> list[Variable]:
    out = []
    for one in (text or "").split(","):
        if one.strip():
            found = VARIABLE.fullmatch(POINTER.sub("", one.strip()) + ";")
            if found is None:
                raise PtxError(f"expected a parameter, found {one.strip()!r}")
            out.append(_variable(found))
    return out


def _function(found: re.Match[str]) -> Function:
    kind, returns, name, params, rest, _ = found.groups()
    limits = {}
    for word, numbers in re.findall(r"\.(\w+)\s*([\d,\s]*)", rest):
        if word not in ("maxntid", "reqntid", "minnctapersm", "maxnreg", "noreturn"):
            raise PtxError(f"`{name}`: `.{word}` is unknown")
        limits[word] = tuple(int(x) for x in numbers.split(",") if x.strip())
    return Function(name, kind == "entry", _params(params), _params(returns), limits)


class _Body:
    """Reads the statements between two braces."""

    def __init__(self, function: Function, text: str, at: int, end: int):
        self.function, self.text, self.at, self.end = function, text, at, end
        self.scopes: list[dict[str, str]] = [{}]       # what a name is called in the function

    def read(self) -> None:
        text = self.text
        while True:
            while self.at < self.end and text[self.at].isspace():
                self.at += 1
            if self.at >= self.end:
                return
            if text[self.at] == "{":
                self.scopes.append({})
                self.at += 1
            elif text[self.at] == "}":
                self.scopes.pop()
                self.at += 1
            elif found := LABEL.match(text, self.at):
                self.function.labels[found[1]] = len(self.function.statements)
                self.label, self.at = found[1], found.end()
            else:
                stop = text.find(";", self.at)
                self._statement(text[self.at:stop].strip(), _line(text, self.at))
                self.at = stop + 1

    def _statement(self, text: str, line: int) -> None:
        if text.startswith(".pragma"):
            return
        if text.startswith(".branchtargets"):
            self.function.targets[self.label] = [x.strip() for x in text[14:].split(",")]
        elif found := REGISTERS.match(text):
            for name in found[2].split(","):
                self._register(name.strip(), found[1], line)
        elif found := VARIABLE.match(text + ";"):
            self.function.variables.append(_variable(found))
        elif found := STATEMENT.fullmatch(text):
            guard = (self._names(found[2]), found[1] == "!") if found[2] else None
            operands = [self._names(x.strip()) for x in OPERAND.findall(found[4])]
            self.function.statements.append(Statement(line, " ".join(text.split()), guard, found[3], operands))
        else:
            raise PtxError(f"line {line}: expected a statement, found {text!r}")

    def _register(self, name: str, kind: str, line: int) -> None:
        if kind not in SIZES:
            raise PtxError(f"line {line}: registers of an unknown type, `.{kind}`")
        many = re.fullmatch(r"([%\w$]+)<(\d+)>", name)
        for one in [f"{many[1]}{k}" for k in range(int(many[2]))] if many else [name]:
            inner = one if len(self.scopes) == 1 else f"{one}@{len(self.function.registers)}"
            self.scopes[-1][one] = inner
            self.function.registers[inner] = kind

    def _names(self, text: str) -> str:
        """An operand with the names that its registers have in the function."""
        if len(self.scopes) == 1:
            return text

        def named(found: re.Match[str]) -> str:
            return next((s[found[0]] for s in reversed(self.scopes) if found[0] in s), found[0])
        return re.sub(r"[%$\w]+", named, text)


__all__ = ["Function", "Module", "PtxError", "SIZES", "Statement", "Variable", "parse"]
