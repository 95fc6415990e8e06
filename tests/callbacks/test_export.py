from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import ModelParallelStrategy
from support.fits import Net, Validated, data, make_trainer

import lightning_prune as lp
from lightning_prune.formats import FORMATS
from lightning_prune.formats.program import Exportable
from lightning_prune.modules.inputs import ExampleInputs


def pruned(*extra: L.Callback, order: tuple[int, ...] = (0, 1, 2)) -> Validated:
    three = [lp.Pruning(0.5, of="units", schedule=lp.OneShot(epoch=1)), *extra]
    model = Validated("AdamW")
    trainer = make_trainer(*(three[i] for i in order), epochs=2)
    trainer.fit(model, data(same=True), data())
    return model


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_compact_model_is_exported_in_any_order_of_callbacks(
    order: tuple[int, ...], tmp_path: Path
) -> None:
    export = lp.Export(tmp_path / "small", ["torch.export"], latency=False)
    model = pruned(lp.Compaction(latency=False), export, order=order)
    report = export.report
    assert report is not None
    assert report["torch"].size_bytes == 4 * sum(p.numel() for p in model.parameters()) + sum(
        b.numel() * b.element_size() for b in model.buffers()
    )
    assert report["torch.export"].max_rel_error == 0.0
    module = torch.export.load(tmp_path / "small.pt2").module()
    x = torch.randn(5, 2, 6, 6)
    torch.testing.assert_close(module(x), model.eval()(x))
    assert model.body[0].out_channels < 8


def test_the_figures_are_printed_logged_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = lp.Export(tmp_path / "small", ["torch.export"])
    logger = CSVLogger(tmp_path)
    trainer = make_trainer(export, epochs=1, logger=logger)
    trainer.fit(Net(), data())
    assert export.report is not None
    metrics = export.report.metrics()
    assert "export/torch.export/p50_ms" in metrics
    for key, value in metrics.items():
        assert trainer.callback_metrics[key] == pytest.approx(value)
    assert "export/torch.export/p50_ms" in Path(logger.log_dir, "metrics.csv").read_text()
    assert str(export.report) in capsys.readouterr().out


def test_a_format_that_fails_is_warned_of_and_ends_no_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(exportable: Exportable, path: Path) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(FORMATS["torch.export"], "write", fail)
    export = lp.Export(tmp_path / "small", ["torch.export"])
    with pytest.warns(UserWarning, match=r"(?s)Nothing was exported.*no such operation"):
        make_trainer(export, epochs=1).fit(Net(), data())
    assert export.report is None


def test_quantisation_is_calibrated_with_the_first_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    seen: list[ExampleInputs] = []

    def write(exportable: Exportable, path: Path) -> None:
        seen.extend(exportable.calibration)
        raise RuntimeError("seen")

    monkeypatch.setattr(FORMATS["onnx-int8-static"], "write", write)
    formats = ["onnx-int8-static", "torch.export"]
    export = lp.Export(tmp_path / "small", formats, calibration_batches=3, latency=False)
    with pytest.warns(UserWarning, match="Nothing to use was exported to onnx-int8-static"):
        make_trainer(export, epochs=2).fit(Net(), data())
    assert len(seen) == 3
    for batch, (images, _) in zip(seen, data(), strict=False):
        assert torch.equal(batch.tensors[0], images)


def test_nothing_is_exported_without_a_batch(tmp_path: Path) -> None:
    export = lp.Export(tmp_path / "small", ["torch.export"])
    with pytest.warns(UserWarning, match="Nothing was exported: the fit had no batch"):
        make_trainer(export, epochs=0).fit(Net(), data())


def test_sharded_modules_are_refused(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(strategy=ModelParallelStrategy())
    export = lp.Export(tmp_path / "small", ["torch.export"])
    with pytest.raises(ValueError, match=r"for Export, but got ModelParallelStrategy. Export what"):
        export.setup(trainer, Net(), "fit")


def test_files_that_cannot_be_written_are_refused_at_the_start(tmp_path: Path) -> None:
    export = lp.Export(tmp_path / "no" / "small", ["torch.export"])
    with pytest.raises(ValueError, match="whose folder"):
        make_trainer(export).fit(Net(), data())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"path": 3}, TypeError, "Expected `path` to be a path, but got 3"),
        ({"formats": ["tflite"]}, ValueError, "`formats` to hold some of"),
        ({"calibration_batches": 0}, ValueError, "`calibration_batches` to be an integer of"),
        ({"latency": 1}, TypeError, "`latency` to be True or False"),
    ],
)
def test_wrong_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lp.Export(**{"path": "small", "formats": ["torch.export"], **options})
