"""Products of many pairs of matrices: all threads share what is left over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from initscope.models import batched_product
from initscope.models.batched_product import LARGE_PRODUCT, add_product_, product


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


# n, threads -> pairs that all threads share
LEFT_OVER = {
    (9, 2): 1,
    (8, 2): 0,
    (3, 2): 1,
    (1, 2): 0,  # torch shares a single product by itself
    (9, 1): 0,
    (9, 4): 1,
    (10, 4): 2,
    (11, 4): 0,  # three of four threads are busy: more than by three products one after another
}


@pytest.mark.parametrize(("n", "of"), LEFT_OVER)
def test_a_few_large_pairs_are_left_over(n: int, of: int) -> None:
    rows, inner, columns = 100, 200, LARGE_PRODUCT // (2 * 100 * 200)
    with threads(of):
        a = torch.empty(n, rows, inner)
        assert batched_product._left_over(a, a.new_empty(n, inner, columns)) == LEFT_OVER[n, of]
        assert batched_product._left_over(a, a.new_empty(n, inner, columns - 1)) == 0
        there = a.to("meta")  # no processor's
        assert batched_product._left_over(there, there.new_empty(n, inner, columns)) == 0


def count_products(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mm", "addmm", "bmm", "baddbmm"):
        call: Callable[..., torch.Tensor] = getattr(torch, name)

        def counted(*args, _call=call, _name=name, **options) -> torch.Tensor:
            calls.append(_name)
            return _call(*args, **options)

        monkeypatch.setattr(torch, name, counted)


@pytest.mark.parametrize("given_out", [False, True])
@pytest.mark.parametrize("with_add", [False, True])
@pytest.mark.parametrize("n", [2, 5])
def test_the_products_are_those_of_torch(
    n: int, with_add: bool, given_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = drawn(n, 128, 300), drawn(n, 200, 300).mT
    add = drawn(n, 1, 200) if with_add else None
    with threads(2):
        expected = torch.bmm(a, b) if add is None else torch.baddbmm(add, a, b)
        out = torch.full_like(expected, torch.nan) if given_out else None
        calls: list[str] = []
        count_products(calls, monkeypatch)
        found = product(a, b, out, add)
    torch.testing.assert_close(found, expected)
    assert (found is out) == given_out
    many, one = ("baddbmm", "addmm") if with_add else ("bmm", "mm")
    assert calls == ([many, one] if n % 2 and given_out else [many])


@pytest.mark.parametrize("n", [2, 5])
def test_a_product_is_added_in_place(n: int) -> None:
    a, b, to = drawn(n, 200, 128), drawn(n, 128, 300), drawn(n, 200, 300)
    with threads(2):
        expected = torch.baddbmm(to, a, b, alpha=-0.3)
        add_product_(to, a, b, -0.3)
    torch.testing.assert_close(to, expected)


def test_one_run_that_is_not_finite_disturbs_no_other() -> None:
    a, b = drawn(5, 128, 300), drawn(5, 300, 200)
    a[4, 0, 0] = torch.nan
    found = torch.zeros(5, 128, 200)
    with threads(2):
        product(a, b, found)
    assert found[:4].isfinite().all()
    assert found[4, 0].isnan().all()
    assert found[4, 1:].isfinite().all()


def test_all_inputs_may_be_views_of_one() -> None:
    shared = drawn(1, 128, 300).expand(3, 128, 300)
    weights = drawn(3, 300, 200)
    found = torch.zeros(3, 128, 200)
    with threads(2):
        product(shared, weights, found)
    torch.testing.assert_close(found, torch.bmm(shared, weights))


def test_autograd_goes_through_a_product_without_a_place() -> None:
    a, b = drawn(3, 128, 300).requires_grad_(), drawn(3, 300, 200)
    with threads(2):
        (gradient,) = torch.autograd.grad(product(a, b).sum(), a)
    torch.testing.assert_close(gradient, b.sum(2)[:, None].expand_as(a))
