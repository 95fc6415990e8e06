from lightning_prune.export.report import Exported, ExportReport

REPORT = ExportReport(
    {
        "torch": Exported(None, 4000, None, 2.0, 2.5),
        "onnx": Exported("small.onnx", 4500, 1e-7, 0.5, 0.75),
        "openvino": Exported(None, problem="RuntimeError: no such operation"),
    },
    batch_size=8,
    dynamic_batch=True,
    threads=2,
)


def test_a_report_prints_as_a_table_with_what_failed() -> None:
    assert str(REPORT).splitlines() == [
        "runtime      size       p50       p95  relative error",
        "--------  -------  --------  --------  --------------",
        "torch     4.00 kB  2.000 ms  2.500 ms               -",
        "onnx      4.50 kB  0.500 ms  0.750 ms         1.0e-07",
        "openvino        -         -         -               -",
        "latency at batch 8 on cpu in turns, threads: 2",
        "the files take any batch size",
        "openvino: RuntimeError: no such operation",
    ]


def test_a_fixed_batch_is_said() -> None:
    assert "the files take batch 8 only" in str(ExportReport(REPORT.rows, 8, False, 1))


def test_metrics_hold_what_there_is() -> None:
    assert REPORT.metrics() == {
        "export/torch/p50_ms": 2.0,
        "export/torch/p95_ms": 2.5,
        "export/torch/bytes": 4000.0,
        "export/onnx/p50_ms": 0.5,
        "export/onnx/p95_ms": 0.75,
        "export/onnx/bytes": 4500.0,
        "export/onnx/max_rel_error": 1e-7,
    }


def test_rows_are_found_by_format() -> None:
    assert REPORT["onnx"].path == "small.onnx"
    assert REPORT.problems == {"openvino": "RuntimeError: no such operation"}
