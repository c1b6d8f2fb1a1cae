"""`graphk.ir.record` against the standard library: the same classes by both, asked the same questions."""
import copy
import dataclasses
import pickle
from typing import Any

import pytest

from graphk.ir import record


def classes(module):
    @module.dataclass(frozen=True, slots=True)
    class Point:
        """A doc."""
        x: int
        y: Any = 2
        note: str = module.field(default="n", compare=False, repr=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")

        @property
        def double(self) -> int:
            return self.x * 2

    @module.dataclass(frozen=True)
    class Frozen:
        a: tuple
        b: int = 0

    @module.dataclass
    class Open:
        a: int
        b: list = module.field(default_factory=list)
        c: int = module.field(init=False)
        d: int = module.field(default=5, init=False)

        def __post_init__(self) -> None:
            self.c = self.a + 1

    @module.dataclass(eq=False)
    class Same:
        a: int

    @module.dataclass(frozen=True, slots=True)
    class Hashed:
        a: int
        _kept: int = module.field(default=0, init=False, repr=False, compare=False)

        def __hash__(self) -> int:
            object.__setattr__(self, "_kept", 7)
            return 7

    @module.dataclass(frozen=True, slots=True)
    class Empty:
        pass
    return Point, Frozen, Open, Same, Hashed, Empty


def outcome(fn):
    try:
        return fn()
    except Exception as error:  # noqa: BLE001 - which error it is, is the question
        return type(error)


QUESTIONS = [
    lambda P, F, O, S, H, E: repr(P(1)), lambda P, F, O, S, H, E: repr(P(1, y=[3], note="k")),
    lambda P, F, O, S, H, E: (P(1).note, P(1, 2, "k").note, P(3).double, P.__doc__, P.__name__, P.__slots__),
    lambda P, F, O, S, H, E: (P(1) == P(1, 2, "other"), P(1) == P(2), P(1) == (1, 2, "n"), P(1) != P(1)),
    lambda P, F, O, S, H, E: (hash(P(1)) == hash(P(1, 2, "other")), len({P(1), P(1), P(2)})),
    lambda P, F, O, S, H, E: hash(P(1, [])), lambda P, F, O, S, H, E: P(-1), lambda P, F, O, S, H, E: P(),
    lambda P, F, O, S, H, E: P(1, z=3), lambda P, F, O, S, H, E: P(1, 2, 3, 4), lambda P, F, O, S, H, E: P(1, x=1),
    lambda P, F, O, S, H, E: setattr(P(1), "x", 2), lambda P, F, O, S, H, E: delattr(P(1), "x"),
    lambda P, F, O, S, H, E: hasattr(P(1), "__dict__"),
    lambda P, F, O, S, H, E: repr(copy.copy(P(4))) + repr(copy.deepcopy(P(4, [5]))),
    lambda P, F, O, S, H, E: (repr(F((1,))), F.b, F((1,)) == F((1,), 0), hash(F((1,))) == hash(F((1,), 0))),
    lambda P, F, O, S, H, E: setattr(F(()), "a", 2), lambda P, F, O, S, H, E: F(()).__dict__,
    lambda P, F, O, S, H, E: (repr(O(1)), O(1).b is O(1).b, O(1, [2]).b, O(1).c, O(1).d, O(1) == O(1), O(1) == O(2)),
    lambda P, F, O, S, H, E: hash(O(1)), lambda P, F, O, S, H, E: O(1, c=3), lambda P, F, O, S, H, E: O(1, d=3),
    lambda P, F, O, S, H, E: (setattr(o := O(1), "a", 9), o.a, o.extra if hasattr(o, "extra") else None),
    lambda P, F, O, S, H, E: (S(1) == S(1), len({S(1), S(1)}), repr(S(1)).split(".")[-1]),
    lambda P, F, O, S, H, E: (hash(H(1)), H(1) == H(1), repr(H(1)), H(1)._kept), lambda P, F, O, S, H, E: H(1, 2),
    lambda P, F, O, S, H, E: (E() == E(), hash(E()) == hash(E()), repr(E())),
]


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_records_are_what_the_standard_library_makes(number):
    ours, theirs = (outcome(lambda m=m: repr(QUESTIONS[number](*classes(m)))) for m in (record, dataclasses))
    assert ours == theirs


def test_replace():
    for module in (record, dataclasses):
        P, _, O, _, H, _ = classes(module)
        assert repr(module.replace(P(1, 2, "k"), x=5)) == repr(P(5)) and module.replace(P(1, 2, "k"), x=5).note == "k"
        assert module.replace(O(1, [3]), a=4).c == 5 and repr(module.replace(H(1))) == repr(H(1))
        with pytest.raises(ValueError, match="negative"):
            module.replace(P(1), x=-1)
        with pytest.raises((TypeError, ValueError)):
            module.replace(H(1), _kept=3)


def test_records_pickle():
    from graphk.codegen.target import named_target
    from graphk.ir.loop import Lit, Load
    for thing in (named_target("avx2"), Lit(2.5, "float32"), Load("p0", 3, "float32")):
        again = pickle.loads(pickle.dumps(thing))
        assert again == thing and hash(again) == hash(thing) and type(again) is type(thing)


def test_what_may_not_change_says_so():
    from graphk.ir.loop import Lit
    with pytest.raises(AttributeError, match="cannot change the field `value` of a Lit: it is immutable"):
        Lit(1, "int32").value = 2
