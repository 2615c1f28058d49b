"""Machine code between the products: the numbers of torch, and never a reason to stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from hone.models.native import build, calls, decoding, panels
from hone.models.speed import pointwise

DTYPES = [torch.float32, torch.bfloat16]
needs_compiler = pytest.mark.skipif(build._program() is None, reason="no C compiler on this machine")


@pytest.fixture
def anew() -> Iterator[None]:
    """The library is looked for again in the test, and after it."""
    for kept in (build.library, calls._proven, decoding._proven, panels.available):
        kept.cache_clear()
    yield
    for kept in (build.library, calls._proven, decoding._proven, panels.available):
        kept.cache_clear()


def drawn(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def near(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_norm_and_its_slope_are_those_of_torch(dtype: torch.dtype) -> None:
    states, weight, past, slope = (drawn(*shape, dtype=dtype) for shape in [(7, 48), (48,), (7, 48), (7, 48)])
    wide = states.float().requires_grad_()
    right = functional.rms_norm(wide, (48,), weight.float(), 1e-6)
    (back,) = torch.autograd.grad(right, wide, slope.float())
    assert calls.available(states)
    torch.testing.assert_close(calls.norm(states, weight, 1e-6).float(), right.detach(), **near(dtype))
    found = calls.norm_backward(slope, states, weight, 1e-6, past)
    torch.testing.assert_close(found.float(), back + past.float(), **near(dtype))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gate_and_its_slope_are_those_of_torch(dtype: torch.dtype) -> None:
    both, slope = drawn(7, 66, dtype=dtype), drawn(7, 33, dtype=dtype)
    wide = both.float().requires_grad_()
    gate, up = wide.chunk(2, -1)
    right = functional.silu(gate) * up
    (back,) = torch.autograd.grad(right, wide, slope.float())
    torch.testing.assert_close(calls.gated(both).float(), right.detach(), **near(dtype))
    found, again = calls.gated_backward(slope, both)
    torch.testing.assert_close(found.float(), back, **near(dtype))
    torch.testing.assert_close(again.float(), right.detach(), **near(dtype))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gate_is_right_where_it_is_shut_or_wide_open(dtype: torch.dtype) -> None:
    gate = torch.tensor([-1e20, -100.0, -75.5, -30.0, -0.0, 75.5, 100.0, 1e30, torch.inf, torch.nan]).to(dtype)
    both = torch.cat([gate, torch.ones_like(gate)])[None]
    wide = gate.float().requires_grad_()
    right = functional.silu(wide)
    slope = torch.autograd.grad(right.sum(), wide)[0]
    usual = slice(0, len(gate) - 2)
    torch.testing.assert_close(calls.gated(both)[0].float(), right.detach(), equal_nan=True, **near(dtype))
    found = calls.gated_backward(torch.ones(1, len(gate), dtype=dtype), both)[0][0, : len(gate)]
    torch.testing.assert_close(found[usual].float(), slope[usual], **near(dtype))
    assert found[-1].isnan()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_logits_have_the_loss_of_torch(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-3e38, 0.0, 3.0], [80.0, 80.0, -80.0]]).to(dtype)
    targets = torch.tensor([1, 2, 0])
    right = functional.cross_entropy(logits.float(), targets, reduction="none")
    torch.testing.assert_close(calls.label_slopes(logits, targets), right, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(logits).all()


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loss_that_is_no_number_stays_none(dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, float("nan"), 1.0]]).to(dtype)
    assert torch.isnan(calls.label_slopes(logits, torch.tensor([0]))).all()


def test_it_can_be_turned_off(anew: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.SWITCH, "0")
    both = drawn(7, 66, dtype=torch.float32)
    assert not calls.available(both)
    gate, up = both.chunk(2, -1)
    torch.testing.assert_close(pointwise.gated(both), functional.silu(gate) * up)


def test_a_compiler_that_fails_is_told_and_torch_goes_on(
    anew: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "gcc"
    broken.write_text("#!/bin/sh\necho no such target >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/bin")
    monkeypatch.setenv("HONE_CACHE", str(tmp_path / "cache"))
    assert build.library() is None
    assert "no such target" in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "cache" / "native").iterdir())
    assert pointwise.gated(drawn(2, 6, dtype=torch.float32)).shape == (2, 3)
