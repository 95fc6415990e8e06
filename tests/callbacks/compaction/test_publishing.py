"""What keeps the file from being written is told, and nothing else is lost by it."""

from pathlib import Path

import lightning as L
import pytest
from support.fits import Net, data, make_trainer

import lightning_prune as lp


def test_what_cannot_be_written_is_told_when_all_else_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    compaction = lp.Compaction(path=folder / "small.safetensors", latency=False)
    gone = L.pytorch.callbacks.LambdaCallback(on_train_end=lambda *_: folder.rmdir())
    trainer = make_trainer(lp.Pruning(0.5), compaction, gone)
    with pytest.raises(ValueError, match=r"whose folder .* does not exist"):
        trainer.fit(Net(), data())
    assert compaction.report is not None
    assert "units removed" in capsys.readouterr().out
    assert trainer.callback_metrics["compaction/params_after"] == compaction.report.params_after


@pytest.mark.parametrize("batches", [1, 3])
def test_a_trial_leaves_the_files_that_are_there(tmp_path: Path, batches: int) -> None:
    compact, exported = tmp_path / "small.safetensors", tmp_path / "small.pt2"
    for path in (compact, exported):
        path.write_text("of a long training")
    compaction = lp.Compaction(path=compact, latency=False)
    export = lp.Export(path=tmp_path / "small", formats=["torch.export"])
    make_trainer(lp.Pruning(0.5), compaction, export, fast_dev_run=batches).fit(Net(), data())
    assert compaction.report is not None
    assert sorted(tmp_path.iterdir()) == [exported, compact]
    assert {path.read_text() for path in (compact, exported)} == {"of a long training"}
