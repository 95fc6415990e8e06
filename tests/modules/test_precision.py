"""Float32 is float32 within, and what was set before comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import lightning_prune as lp
from lightning_prune.modules.precision import full_precision


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_settings_come_back(precision: str) -> None:
    torch.set_float32_matmul_precision(precision)
    with full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == precision
    assert torch.backends.cudnn.allow_tf32


def test_settings_come_back_after_an_error() -> None:
    torch.set_float32_matmul_precision("high")
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert torch.get_float32_matmul_precision() == "high"


def test_settings_by_the_newer_names_come_back() -> None:
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("torch has none yet")
    torch.set_float32_matmul_precision("high")
    matmul.fp32_precision = "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    try:
        with full_precision():
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
            assert torch.backends.cudnn.conv.fp32_precision == "ieee"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
        assert matmul.fp32_precision == "ieee"
        assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"
        matmul.fp32_precision = "none"


def test_a_compaction_is_verified_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 8), torch.nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_float32_matmul_precision())
            return self.second(self.first(x).relu())

    torch.set_float32_matmul_precision("medium")
    model, x = Net(), torch.randn(3, 4)
    lp.prune(model, x, sparsity=0.5, criterion=lp.Magnitude())
    seen.clear()
    assert lp.compact(model, x, latency=False).removed
    assert set(seen) == {"highest"}
    seen.clear()
    assert lp.compact(model, x).latency_after is not None
    assert "medium" in seen  # what is measured runs as it will
