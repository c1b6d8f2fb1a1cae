"""Laws of symbolic dimensions, on random expressions and random values of their symbols."""
import pytest
from hypothesis import given, settings, strategies as st

from graphk.ir.dims import (DimExpr, compile_dims, dim_max, divide_exact, evaluate, floordiv, parse_dim, product,
                            substitute, sym, symbols)

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("quick")

NAMES = ("n", "m", "t")
leaves = st.one_of(st.integers(-6, 9), st.sampled_from([sym(s) for s in NAMES]))
dims = st.recursive(leaves, lambda d: st.one_of(
    st.tuples(d, d).map(lambda p: p[0] + p[1]), st.tuples(d, d).map(lambda p: p[0] - p[1]),
    st.tuples(d, d).map(lambda p: p[0] * p[1]), st.tuples(d, d).map(lambda p: dim_max(*p)),
    st.tuples(d, st.integers(1, 5)).map(lambda p: floordiv(*p))), max_leaves=6)
envs = st.fixed_dictionaries({s: st.integers(0, 12) for s in NAMES})


@given(dims, dims, dims)
def test_ring_laws(a, b, c):
    assert a + b == b + a and a * b == b * a
    assert (a + b) + c == a + (b + c) and (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + 0 == a and a * 1 == a and a * 0 == 0 and a - a == 0


@given(dims, dims)
def test_equal_values_hash_equal(a, b):
    assert hash(a + b) == hash(b + a)
    assert hash(a - b + b) == hash(a)


@given(dims, dims, envs)
def test_evaluation_is_a_homomorphism(a, b, env):
    x, y = evaluate(a, env), evaluate(b, env)
    assert evaluate(a + b, env) == x + y and evaluate(a * b, env) == x * y and evaluate(a - b, env) == x - y
    assert evaluate(dim_max(a, b), env) == max(x, y)


@given(dims, st.integers(1, 7), envs)
def test_floor_division(a, k, env):
    assert evaluate(floordiv(a, k), env) == evaluate(a, env) // k
    assert floordiv(a * k, k) == a


@given(dims)
def test_text_parses_back(a):
    assert parse_dim(str(a)) == a


@given(st.lists(dims, max_size=4), envs)
def test_compiled_dims_agree(ds, env):
    assert compile_dims(tuple(ds))(env) == tuple(evaluate(d, env) for d in ds)


@given(dims, dims, envs)
def test_substitution_then_value(a, b, env):
    replaced = substitute(a, {"n": b})
    assert evaluate(replaced, env) == evaluate(a, {**env, "n": evaluate(b, env)})
    assert symbols(substitute(a, env)) == set()


@given(st.lists(dims, max_size=4), envs)
def test_product(ds, env):
    want = 1
    for d in ds:
        want *= evaluate(d, env)
    assert evaluate(product(ds), env) == want


def test_normal_form_is_an_int_when_constant():
    n = sym("n")
    assert n - n == 0 and isinstance(n - n + 3, int)
    assert isinstance(n * 2, DimExpr) and str(n * 2 + 1) == "2*n+1"


def test_exact_division():
    n, m = sym("n"), sym("m")
    assert divide_exact(n * m * 6, m * 3) == n * 2
    assert divide_exact(n + 1, n) is None and divide_exact(n * 3, 2) is None
    assert divide_exact(n + m, n + m) == 1
    assert divide_exact((n + 1) * (m + 2) * 6, (m + 2) * 3) == n * 2 + 2
    assert divide_exact(n * m + 1, m + 1) is None and divide_exact(n, 0) is None


@given(dims, dims)
def test_a_product_divides_by_its_factors(a, b):
    if b != 0 and a != 0:
        assert divide_exact(a * b, b) == a


def test_errors_name_what_is_wrong():
    with pytest.raises(KeyError, match=r"symbolic dimension.*'n'.*2\*n"):
        evaluate(sym("n") * 2, {})
    with pytest.raises(TypeError, match="`n` is symbolic"):
        range(sym("n"))
    with pytest.raises(ZeroDivisionError):
        floordiv(3, 0)
    for text in ("n n", "n/2", "f(n, 2)", "1.5", ""):
        with pytest.raises(ValueError, match="not a dimension"):
            parse_dim(text)


n = sym("n")


def test_the_larger_of_what_was_compared_already():
    m = dim_max(dim_max(n * 2, 7), n + 1)
    assert dim_max(m, 7) is m and dim_max(n * 2, m) is m and dim_max(m, n + 1) is m
    assert str(dim_max(m, n + 2)) == "max(max(max(2*n, 7), n+1), n+2)"


def test_many_dims_that_share_their_parts_compile_to_short_code():
    d = n
    for _ in range(60):
        d = floordiv(d * 3 + d, 2) + d                           # as text, each step would triple it
    small = compile_dims((d, d + 1, n, 4))({"n": 2})
    assert small[1:] == (small[0] + 1, 2, 4)
    assert compile_dims(())({}) == ()
