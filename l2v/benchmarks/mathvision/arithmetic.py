"""The number that a LaTeX expression without variables stands for, without running anything the model wrote.

The released scorer (mathllm/MATH-V, evaluation/utils.py) gives answers to latex2sympy2 and runs the result as code. This is a
parser of our own for the part of that language that has a value, with its habits, so that verdicts stay the same:
- it reads as far as it understands: "5) or so" is 5, "12 &" is 12; but "5 cm" multiplies by letters and has no value;
- "1,234" is a number, "3:4" a quotient, "2\\frac{1}{2}" a product, "$", "~" and "\\quad" are blanks, "x=5" is 5;
- \\sin and its kin count in radians, \\log is to base 10, "e^{2}" is a number but "e" alone, \\ln, \\sec and |x| are not
  (their sympy spelling means nothing to Python's math).
Sums, limits, gcd and matrices have no value here. Nested quotients are worked out as they are written: sympy's spelling of
"-3/0.5" loses a bracket, and the released scorer makes -1.5 of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

# Exact where the released scorer is exact: int and int / int, which it rounds only after the division.
Number = int | Fraction | float

# Bounds that no answer key comes near; beyond them an expression has no value.
MAX_LENGTH = 200
MAX_DEPTH = 30
MAX_BITS = 20_000
MAX_FACTORIAL = 500

_BLANKS = re.compile(r"\\(?:displaystyle|qquad|quad|,)|[$~]")
_ASSIGNED = re.compile(r"\s*[a-df-z]\s*=(?!=)")
# Where latex2sympy2's grammar ends an expression in peace: closers, separators and the names of its matrix functions.
_STOP = (
    r"\\right(?![a-z])|\\rightarrow|\\to(?![a-z])|\\r(?:floor|ceil|vert|brace|brack|group)|\\choose|\\\\|[&_.]"
    r"|eye|zeros|ones|cols|rows|diag|norm|rank|tr|rref|hstack|vstack|orth|nullspace|eig|svd|gcd|lcm|floor|ceil"
    r"|arc?sinh|arc?cosh|arc?tanh|[pbv]?matrix"
)
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<number>(?:\d+(?:,\d{{3}})*)?\.\d+|\d+(?:,\d{{3}})*)(?P<percent>\\%)?
    | (?P<open>(?:\\left)?(?:\(|\[|\\\{{)|\{{|\\lfloor)
    | (?P<close>\\right(?:\)|\]|\\\}})|\)|\]|\}}|\\\}}|\\rfloor)
    | (?P<op>\+|-|\*|/|:|\^|!|'|\\times|\\cdot(?!s)|\\div)
    | (?P<frac>\\[dt]?frac)
    | (?P<binom>\\[dt]?binom)
    | (?P<sqrt>\\sqrt)
    | (?P<func>\\(?:sinh|cosh|tanh|sin|cos|tan|arcsin|arccos|arctan|log|exp))
    | (?P<pi>\\pi(?![a-z]))
    | (?P<stop>{_STOP})
    | (?P<e>e)
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_CLOSERS = {
    "(": ")", "[": "]", "{": "}", "\\{": "\\}", "\\lfloor": "\\rfloor",
    "\\left(": "\\right)", "\\left[": "\\right]", "\\left\\{": "\\right\\}",
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "\\sin": math.sin,
    "\\cos": math.cos,
    "\\tan": math.tan,
    "\\sinh": math.sinh,
    "\\cosh": math.cosh,
    "\\tanh": math.tanh,
    "\\arcsin": math.asin,
    "\\arccos": math.acos,
    "\\arctan": math.atan,
    "\\exp": math.exp,
}
_INVERSE = {"\\sin": "\\arcsin", "\\cos": "\\arccos", "\\tan": "\\arctan"}
_TIMES, _OVER = ("*", "\\times", "\\cdot"), ("/", ":", "\\div")


class _NoValue(ValueError):
    """The text is no expression of the grammar, or one without a value."""


@lru_cache(maxsize=65_536)
def value(text: str) -> Number | None:
    """The value of `text` (lower case LaTeX), None where it has none, where it leaves the reals or is over the bounds."""
    if len(text) > MAX_LENGTH:
        return None
    text = _BLANKS.sub(" ", text)
    if assigned := _ASSIGNED.match(text):
        text = text[assigned.end() :]
    try:
        found = _Parser(text).whole()
        return found if isinstance(found, int) or math.isfinite(found) else None
    except (ValueError, ArithmeticError):
        return None


def rounded(number: Number) -> int | float:
    """`number` to two decimals, an integer where it was reached without division or roots (so that 3 prints as "3")."""
    return number if isinstance(number, int) else round(float(number), 2)


class _Parser:
    """Recursive descent with one token of lookahead; rules are named as in latex2sympy2's grammar."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0
        self.advance()

    def advance(self) -> str:
        """Moves to the next token; returns the one left behind. A character outside the grammar is kind "unknown"."""
        left = getattr(self, "token", "")
        match = _TOKEN.match(self.text, self.at)
        self.kind = (match.lastgroup or "unknown") if match else "unknown"
        self.token = match.group().strip() if match else ""
        if match:
            self.at = match.end()
        return left

    def expect(self, token: str) -> None:
        if self.advance() != token:
            raise _NoValue

    def whole(self) -> Number:
        found = self.additive()
        if self.kind not in ("end", "stop", "close") and self.token != "^":  # a power after "!" ends it, too
            raise _NoValue  # a relation, a list, a letter, an unknown command
        return found

    def additive(self) -> Number:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _NoValue
        found = self.product()
        while self.kind == "op" and self.token in ("+", "-"):
            found = found + self.product() if self.advance() == "+" else found - self.product()
        self.depth -= 1
        return found

    def product(self, functions: bool = True) -> Number:
        """Products and quotients from the left; `functions` False ends a run of factors before the next function."""
        found = self.signed(functions)
        while self.kind == "op" and self.token in _TIMES + _OVER:
            over = self.advance() in _OVER
            factor = self.signed(functions)
            found = _divide(found, factor) if over else found * factor
        return found

    def signed(self, functions: bool) -> Number:
        minus = False
        while self.kind == "op" and self.token in ("+", "-"):
            minus ^= self.advance() == "-"
        found = self.factor()
        while self.starts_factor(functions):
            found = found * self.factor()
        return -found if minus else found

    def starts_factor(self, functions: bool) -> bool:
        return self.kind in ("number", "percent", "open", "frac", "binom", "pi") or (
            functions and self.kind in ("func", "sqrt", "e")
        )

    def factor(self) -> Number:
        """An atom with its powers, then factorials; a prime (transposition) changes nothing."""
        found = self.atom()
        while self.token == "^" and self.kind == "op":
            self.advance()
            found = _power(found, self.exponent())
        while self.kind == "op" and self.token in ("!", "'"):
            found = _factorial(found) if self.advance() == "!" else found
        return found

    def exponent(self) -> Number:
        if self.token == "{":
            return self.braced()
        if self.kind not in ("number", "percent", "pi"):
            raise _NoValue
        return self.atom()

    def braced(self) -> Number:
        self.expect("{")
        found = self.additive()
        self.expect("}")
        return found

    def atom(self) -> Number:
        kind = self.kind
        if kind in ("number", "percent"):
            return _number(self.advance())
        if kind == "pi":
            self.advance()
            return math.pi
        if kind == "open":
            return self.group()
        if kind in ("frac", "binom"):
            self.advance()
            upper, lower = self.braced(), self.braced()
            return _divide(upper, lower) if kind == "frac" else _binomial(upper, lower)
        if kind == "sqrt":
            return self.root()
        if kind == "func":
            return self.function()
        if kind == "e":
            self.advance()
            self.expect("^")
            return math.exp(float(self.exponent()))
        raise _NoValue

    def group(self) -> Number:
        opener = self.advance()
        found = self.additive()
        self.expect(_CLOSERS[opener])
        return math.floor(found) if opener == "\\lfloor" else found

    def root(self) -> Number:
        self.advance()
        if self.token != "[":
            return math.sqrt(float(self.braced()))
        self.advance()
        degree = self.additive()
        self.expect("]")
        return _power(self.braced(), _divide(1, degree))

    def function(self) -> Number:
        name = self.advance()
        base: Number = 10
        if name == "\\log" and self.text.startswith("_{", self.at - 1):
            self.advance()
            base = self.braced()
        power: Number | None = None
        if self.kind == "op" and self.token == "^":
            self.advance()
            power = self.exponent()
        argument = self.group() if self.token == "(" else self.product(functions=self.kind in ("func", "sqrt", "e"))
        if name == "\\log":
            found = math.log(float(argument), float(base))
        elif power == -1 and name in _INVERSE:
            return _FUNCTIONS[_INVERSE[name]](float(argument))
        else:
            found = _FUNCTIONS[name](float(argument))
        return found if power is None else _power(found, power)


def _number(token: str) -> Number:
    """Decimals are exact, as sympy's rationals are; "2.0" is the integer 2."""
    percent = token.endswith("\\%")
    exact = Fraction(token.removesuffix("\\%").replace(",", "")) / (100 if percent else 1)
    return exact.numerator if exact.denominator == 1 else exact


def _divide(upper: Number, lower: Number) -> Number:
    if isinstance(upper, float) or isinstance(lower, float):
        return float(upper) / float(lower)
    return Fraction(upper) / Fraction(lower)


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, int) and not isinstance(base, float):
        size = max(abs(base.numerator), base.denominator).bit_length()
        if size * abs(exponent) > MAX_BITS:
            raise _NoValue
        return base**exponent if exponent >= 0 else Fraction(base) ** exponent
    found = float(base) ** float(exponent)
    if isinstance(found, complex):
        raise _NoValue
    return found


def _factorial(number: Number) -> int:
    if not isinstance(number, int) or not 0 <= number <= MAX_FACTORIAL:
        raise _NoValue
    return math.factorial(number)


def _binomial(upper: Number, lower: Number) -> int:
    if not (isinstance(upper, int) and isinstance(lower, int) and 0 <= lower <= upper <= MAX_FACTORIAL):
        raise _NoValue
    return math.comb(upper, lower)
