import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from typing_extensions import override

import lightning_prune as lp
from lightning_prune.errors import ExportError
from lightning_prune.formats import FORMATS
from lightning_prune.formats.base import Format, Runner
from lightning_prune.formats.program import Exportable

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


@dataclass
class Own(Format):
    """A format of the test's own, whose runtime multiplies what the model returns."""

    suffix: ClassVar[str] = ".own"
    factor: float = 1.0
    broken: str = ""

    @override
    def write(self, exportable: Exportable, path: Path) -> None:
        path.write_text("model")
        warnings.warn("of the exporter, about itself", stacklevel=1)
        if self.broken:
            raise RuntimeError(self.broken)
        self.model = exportable.model

    @override
    def load(self, path: Path) -> Runner:
        return lambda inputs: [self.factor * self.model(*inputs.values())]


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> dict[str, Format]:
    own: dict[str, Format] = {
        "right": Own(),
        "wrong": Own(factor=1.001),
        "broken": Own(broken="no such operation"),
    }
    for name, one in own.items():
        monkeypatch.setitem(FORMATS, name, one)
        monkeypatch.setattr(one, "suffix", f".{name}", raising=False)
    return own


def export(tmp_path: Path, *formats: str, **options: Any) -> lp.ExportReport:
    return lp.export_model(
        nn.Linear(4, 2), X, tmp_path / "small", formats=formats, latency=False, **options
    )


@pytest.mark.usefixtures("formats")
def test_a_format_that_fails_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    report = export(tmp_path, "broken", "wrong", "right")
    assert report.problems == {
        "broken": "RuntimeError: no such operation",
        "wrong": "its outputs differ by 1.0e-03 of their scale, more than 1e-05",
    }
    assert report["right"].path == str(tmp_path / "small.right")
    assert report["right"].max_rel_error == 0.0
    assert report["right"].size_bytes == len("model")
    assert report["torch"].size_bytes == 4 * (4 * 2 + 2)
    # What does not compute the same stays for a look, half a file does not.
    assert {file.name for file in tmp_path.iterdir()} == {"small.wrong", "small.right"}


@pytest.mark.usefixtures("formats")
def test_an_error_is_raised_where_nothing_is_exported(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)got broken, wrong:.*broken: RuntimeError: no such"):
        export(tmp_path, "broken", "wrong")


def test_latency_is_measured_for_the_model_and_every_file(tmp_path: Path) -> None:
    model = nn.Linear(4, 2).train()
    report = lp.export_model(model, X, tmp_path / "small", formats=["torch.export"])
    assert all(0 < (row.p50_ms or 0) <= (row.p95_ms or 0) for row in report.rows.values())
    assert (report.batch_size, report.dynamic_batch) == (3, True)
    assert report.threads == torch.get_num_threads()
    assert model.training


@pytest.mark.parametrize(
    ("formats", "error", "message"),
    [
        (["tflite"], ValueError, r"`formats` to hold some of onnx, .*, but got \['tflite'\]"),
        ([], ValueError, r"`formats` to hold some of"),
        ("onnx", TypeError, r"Write \['onnx'\]"),
        (["onnx-int8-static"], ValueError, r"`calibration` to hold batches for onnx-int8-static"),
    ],
)
def test_what_cannot_be_exported_is_refused_first(
    formats: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(error, match=message):
        lp.export_model(nn.Linear(4, 2), X, tmp_path / "small", formats=formats)


def test_a_path_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` to be a file .* whose folder .* does not exist"):
        lp.export_model(nn.Linear(4, 2), X, tmp_path / "no" / "small", formats=["torch.export"])


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(type(FORMATS["openvino"]), "packages", ("no_such_package",))
    message = r"'openvino', which needs no_such_package. .*'lightning-prune\[export-openvino\]'"
    with pytest.raises(ModuleNotFoundError, match=message):
        export(tmp_path, "openvino")
