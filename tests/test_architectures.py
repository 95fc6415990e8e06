"""Recurrent networks and transformers, from torch and from the transformers library, end to end.

Half of the units of every group go; the compact model must compute what the masked one did, and
heads, hidden units and residual streams must really be smaller.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from support.oracle import half_of_every_group, randomize, zeroed
from torch import Tensor, nn

from lightning_prune.compaction import compact
from lightning_prune.coupling import couple

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers
    from transformers import AutoModelForImageClassification  # noqa: F401 loads what it needs now

WORDS = torch.arange(18).view(2, 9) % 50


@dataclass(frozen=True)
class Case:
    """A model.

    Args:
        build: makes it.
        inputs: what it takes.
        shapes: of some parameters once half is gone.
        tolerance: relative; models that cast to float32 on their way are no more exact than that.
    """

    build: Callable[[], nn.Module]
    inputs: Any
    shapes: dict[str, tuple[int, ...]]
    tolerance: float = 1e-10


class Recurrent(nn.Module):
    """A classifier of sequences."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.rnn = kind(8, 12, batch_first=True, **options)
        self.head = nn.Linear(24 if options.get("bidirectional") else 12, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.rnn(self.words(words))[0][:, -1])


class Encoder(nn.Module):
    """Torch's own encoder between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
        self.words = nn.Embedding(50, 16)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(words)).mean(1))


def llama() -> nn.Module:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=8,
            num_key_value_heads=4,
            intermediate_size=48,
            max_position_embeddings=32,
        )
    )


def gpt2() -> nn.Module:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=50,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=32,
            bos_token_id=0,
            eos_token_id=1,
        )
    )


def bert() -> nn.Module:
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=32,
        )
    )


def t5() -> nn.Module:
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=50, d_model=32, num_layers=2, num_heads=4, d_kv=8, d_ff=48)
    )


def vit() -> nn.Module:
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
            num_labels=5,
        )
    )


TEXT = {"input_ids": WORDS, "use_cache": False}

CASES = {
    "lstm": Case(
        lambda: Recurrent(nn.LSTM),
        WORDS,
        {"words.weight": (50, 4), "rnn.weight_hh_l0": (24, 6), "head.weight": (3, 6)},
    ),
    "gru": Case(lambda: Recurrent(nn.GRU), WORDS, {"rnn.weight_hh_l0": (18, 6)}),
    "two_layers_in_both_directions": Case(
        lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True),
        WORDS,
        {"rnn.weight_ih_l1_reverse": (24, 12), "head.weight": (3, 12)},
    ),
    "encoder": Case(
        Encoder,
        WORDS,
        {
            "words.weight": (50, 8),
            "encoder.layers.0.self_attn.in_proj_weight": (24, 8),
            "encoder.layers.1.linear1.weight": (12, 8),
            "encoder.layers.1.norm2.weight": (8,),
        },
    ),
    "bert": Case(
        bert,
        {"input_ids": WORDS},
        {
            "bert.embeddings.word_embeddings.weight": (50, 16),
            "bert.encoder.layer.0.attention.self.query.weight": (16, 16),
            "bert.encoder.layer.1.intermediate.dense.weight": (24, 16),
        },
    ),
    "gpt2": Case(
        gpt2,
        TEXT,
        {
            "transformer.wte.weight": (50, 16),
            "transformer.h.0.attn.c_attn.weight": (16, 48),
            "transformer.h.1.mlp.c_fc.weight": (16, 64),
        },
    ),
    "llama": Case(
        llama,
        TEXT,
        {
            "model.embed_tokens.weight": (50, 16),
            "model.layers.0.self_attn.q_proj.weight": (16, 16),
            "model.layers.0.self_attn.k_proj.weight": (8, 16),
            "model.layers.1.mlp.up_proj.weight": (24, 16),
        },
        tolerance=1e-5,
    ),
    "t5": Case(
        t5,
        TEXT | {"decoder_input_ids": WORDS[:, :5]},
        {
            "decoder.block.0.layer.0.SelfAttention.q.weight": (16, 32),
            "decoder.block.1.layer.1.EncDecAttention.k.weight": (16, 32),
            "encoder.block.1.layer.1.DenseReluDense.wi.weight": (24, 32),
        },
        tolerance=1e-5,
    ),
    "vit": Case(
        vit,
        {"pixel_values": torch.randn(2, 3, 32, 32)},
        {
            "vit.embeddings.cls_token": (1, 1, 16),
            "vit.layers.0.attention.q_proj.weight": (16, 16),
        },
    ),
}

WAYS = [
    (name, attention)
    for name in CASES
    for attention in (
        ("sdpa", "eager") if name in {"bert", "gpt2", "llama", "t5", "vit"} else ("",)
    )
]


def outputs(model: nn.Module, inputs: Any) -> Tensor:
    """Return what a copy of the model computes, in float64."""
    model = copy.deepcopy(model).double().eval()
    call = inputs if isinstance(inputs, dict) else {"words": inputs}
    call = {
        k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v
        for k, v in call.items()
    }
    with torch.no_grad():
        result = model(**call)
    return result if isinstance(result, Tensor) else result["logits"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "attention"), WAYS)
def test_half_of_every_group_goes_exactly(name, attention):
    torch.manual_seed(0)
    case = CASES[name]
    if name == "vit" and transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 gives the layers of its ViT other names")
    model = case.build()
    if attention:
        model = type(model)._from_config(model.config, attn_implementation=attention)
    randomize(model.eval())
    groups = couple(model, case.inputs).groups
    masked = zeroed(model, groups, half_of_every_group(groups), ["out in"] * len(groups))
    small = copy.deepcopy(masked)
    report = compact(small, case.inputs, latency=False)
    assert report.refused == {}
    assert {n: tuple(small.get_parameter(n).shape) for n in case.shapes} == case.shapes
    assert list(small.state_dict()) == list(model.state_dict())
    expected, found = outputs(masked, case.inputs), outputs(small, case.inputs)
    assert float((expected - found).abs().max() / expected.abs().max()) <= case.tolerance


BRANCHES = {"encoder": 4, "bert": 4, "gpt2": 4, "llama": 4, "t5": 10, "vit": 4}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [1, 2], ids=["all", "every second"])
@pytest.mark.parametrize("name", BRANCHES)
def test_branches_of_zeros_go_exactly(name, step):
    torch.manual_seed(0)
    case = CASES[name]
    masked = randomize(case.build()).eval()
    branches = couple(masked, case.inputs).branches
    assert len(branches) == BRANCHES[name]
    gone = [name for branch in branches[::step] for name in branch.parameters]
    with torch.no_grad():
        for parameter in gone:
            masked.get_parameter(parameter).zero_()
    small = copy.deepcopy(masked)
    report = compact(small, case.inputs, latency=False)
    assert report.refused == {}
    assert report.macs_after < report.macs_before
    assert [n for n, p in small.named_parameters() if not p.numel()] == [
        n for n, _ in masked.named_parameters() if n in set(gone)
    ]
    assert list(small.state_dict()) == list(masked.state_dict())
    expected, found = outputs(masked, case.inputs), outputs(small, case.inputs)
    assert float((expected - found).abs().max() / expected.abs().max()) <= case.tolerance
    small.train()
    call = case.inputs if isinstance(case.inputs, dict) else {"words": case.inputs}
    result = small(**call)
    (result if isinstance(result, Tensor) else result["logits"]).square().sum().backward()
    assert not any(small.get_parameter(name).requires_grad for name in gone)
