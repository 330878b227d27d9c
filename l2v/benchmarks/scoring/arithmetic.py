"""The value of closed arithmetic, worked out by a small reader of our own: nothing of a model's text is ever run."""

from __future__ import annotations

import math
import re

LONGEST, DEEPEST, LARGEST_EXPONENT = 120, 12, 400
NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_SPACED = re.compile(r"^[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?$")
_MIXED = re.compile(r"^([+-]?)(\d{1,9})(?: and)? +(\d{1,9}) ?/ ?(\d{1,9})$")


def evaluate(text: str) -> float | None:
    """The value of closed arithmetic (+ - * / ^, brackets, ƒ{a}{b}, √{a}, π), or None; bounded in length, depth and size."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        return None
    if _SPACED.match(text):
        text = text.replace(" ", "")
    mixed = _MIXED.match(text)
    try:
        if mixed:
            sign, whole, top, bottom = mixed.groups()
            return (-1 if sign == "-" else 1) * (int(whole) + int(top) / int(bottom))
        value = _Arithmetic(_TOKENS.findall(text)).result()
    except (ValueError, ZeroDivisionError, OverflowError, IndexError):
        return None
    return value if math.isfinite(value) else None


_TOKENS = re.compile(rf"(?:{NUMBER})(?:[eE][+-]?\d{{1,3}}(?![\w.])|\.(?!\d))?|\S")


class _Arithmetic:
    """A recursive-descent reader of closed arithmetic; raises ValueError at anything else."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0

    def result(self) -> float:
        value = self.sum()
        if self.at != len(self.tokens):
            raise ValueError
        return value

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.tokens[self.at]
        if expected and token != expected:
            raise ValueError
        self.at += 1
        return token

    def sum(self) -> float:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError
        value = self.product()
        while self.peek() in ("+", "-") and self.peek():
            value = value + self.product() if self.take() == "+" else value - self.product()
        self.depth -= 1
        return value

    def product(self) -> float:
        value = self.signed()
        while (token := self.peek()) and token not in "+-)}],":
            if token in "*×·":
                self.take()
                value *= self.signed()
            elif token in "/÷":
                self.take()
                value /= self.signed()
            elif token == "ƒ" and self.tokens[self.at - 1].isdigit():
                part = self.power()
                # 6ƒ{1}{4} is a mixed number, 3ƒ{√2}{2} a product: only a proper fraction is added.
                whole = value == int(value) and 0 < part < 1 and not self._roots()
                value = value + math.copysign(part, value) if whole else value * part
            elif token in "(√πƒ{":
                value *= self.power()
            else:
                raise ValueError
        return value

    def _roots(self) -> bool:
        return "√" in self.tokens or "π" in self.tokens

    def signed(self) -> float:
        minus = False
        while self.peek() in ("+", "-") and self.peek():
            minus ^= self.take() == "-"
        value = self.power()
        return -value if minus else value

    def power(self) -> float:
        base = self.atom()
        if self.peek() != "^":
            return base
        self.take()
        exponent = self.signed_atom()
        if abs(exponent) > LARGEST_EXPONENT:
            raise ValueError
        value = base**exponent
        if isinstance(value, complex):
            raise ValueError
        return float(value)

    def signed_atom(self) -> float:
        if self.peek() == "-":
            self.take()
            return -self.atom()
        return self.atom()

    def atom(self) -> float:
        token = self.take()
        if token == "π":
            return math.pi
        if token in "({[":
            value = self.sum()
            self.take({"(": ")", "{": "}", "[": "]"}[token])
            return value
        if token == "ƒ":
            top = self.group()
            return top / self.group()
        if token == "√":
            index = 2.0
            if self.peek() == "[":
                index = self.group("[", "]")
            return self.nested_root() ** (1 / index)
        if token[0].isdigit() or token[0] == ".":
            return float(token.replace(",", ""))
        raise ValueError

    def nested_root(self) -> float:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError
        value = self.atom()
        self.depth -= 1
        if value < 0:
            raise ValueError
        return value

    def group(self, opening: str = "{", closing: str = "}") -> float:
        self.take(opening)
        value = self.sum()
        self.take(closing)
        return value
