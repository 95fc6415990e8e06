"""A cache is read by the next call only: it protects no head, and the next call is verified."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_prune as lp
from lightning_prune.modules.caches import results
from lightning_prune.modules.inputs import ExampleInputs

TOKENS = torch.randint(0, 9, (2, 5), generator=torch.Generator().manual_seed(0))


class KeyCache:
    def __init__(self) -> None:
        self.keys = torch.zeros(0)

    def update(self, keys: Tensor) -> Tensor:
        self.keys = torch.cat([self.keys, keys], 1) if self.keys.numel() else keys
        return self.keys


class Decoder(nn.Module):
    """One attention whose keys serve as values, and which a cache remembers."""

    def __init__(self, *, as_tuple: bool = False) -> None:
        super().__init__()
        self.embed, self.last = nn.Embedding(9, 6), nn.Linear(8, 9)
        self.queries, self.keys = nn.Linear(6, 8), nn.Linear(6, 8)
        self.as_tuple = as_tuple

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: KeyCache | None = None,
        labels: Tensor | None = None,
    ) -> Any:
        cache = cache or KeyCache()
        x = self.embed(input_ids)
        q, k = self.queries(x), cache.update(self.keys(x))
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        if attention_mask is not None:
            seen = seen & attention_mask[:, None].bool()
        scores = (q @ k.transpose(1, 2)).masked_fill(~seen, -torch.inf)
        logits = self.last(scores.softmax(-1) @ k)
        return (logits, cache) if self.as_tuple else {"logits": logits, "past_key_values": cache}


@pytest.mark.parametrize("as_tuple", [False, True])
@pytest.mark.parametrize(
    "inputs",
    [TOKENS, {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS), "labels": TOKENS}],
    ids=["tokens", "names"],
)
def test_the_next_call_is_that_of_one_more_token(as_tuple: bool, inputs: Any) -> None:
    model = Decoder(as_tuple=as_tuple)
    first, second = results(ExampleInputs.of(inputs), model)
    logits = [part[0] if as_tuple else part["logits"] for part in (first, second)]
    again = model(torch.cat([TOKENS, TOKENS[:, -1:]], 1))
    expected = again[0] if as_tuple else again["logits"]
    torch.testing.assert_close(torch.cat(logits, 1), expected)
    assert len(first) == len(second) == 1


@pytest.mark.parametrize("as_tuple", [False, True])
def test_what_a_cache_holds_can_be_pruned(as_tuple: bool) -> None:
    model = Decoder(as_tuple=as_tuple).eval()
    lp.prune(model, TOKENS, sparsity=0.5, criterion=lp.Magnitude(), of="units", include=["queries"])
    masked = copy.deepcopy(model)
    report = lp.compact(model, TOKENS, latency=False)
    assert report.refused == {}
    assert model.keys.out_features < 8
    first = [results(ExampleInputs.of(TOKENS), one) for one in (model, masked)]
    torch.testing.assert_close(*first)


def test_a_cache_that_cannot_be_passed_on_is_a_result() -> None:
    class Closed(Decoder):
        def forward(self, tokens: Tensor) -> Any:  # type: ignore[override]
            return super().forward(tokens)

    output = results(ExampleInputs.of(TOKENS), Closed())
    assert set(output) == {"logits", "past_key_values"}
    groups = lp.couple(Closed(), TOKENS).groups
    assert "keys" not in {group.name for group in groups}

    class Strict(Decoder):
        def forward(self, input_ids: Tensor, cache: Any = None) -> Any:  # type: ignore[override]
            if cache is not None:
                raise ValueError("positions are missing")
            return super().forward(input_ids)

    assert set(results(ExampleInputs.of(TOKENS), Strict())) == {"logits", "past_key_values"}


def test_without_a_cache_the_output_is_as_it_is() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(1, 3)
    assert torch.equal(results(ExampleInputs.of(x), layer), layer(x))


def language_model(name: str) -> tuple[nn.Module, dict[str, Tensor]]:
    library = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = torch.randint(3, 50, (2, 7))
    texts = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if name == "GPT-2":
        config = library.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=4, n_positions=32)
        return library.GPT2LMHeadModel(config), texts
    if name == "Llama":
        config = library.LlamaConfig(
            **sizes, hidden_size=16, intermediate_size=32, num_key_value_heads=2
        )
        return library.LlamaForCausalLM(config), texts
    config = library.T5Config(
        vocab_size=50, d_model=16, d_kv=4, d_ff=32, num_heads=4, decoder_start_token_id=0
    )
    return library.T5ForConditionalGeneration(config), texts | {"decoder_input_ids": tokens}


@pytest.mark.slow
@pytest.mark.parametrize("granularity", [lp.Head(), lp.Channel()], ids=str)
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "T5"])
def test_generation_with_a_cache_is_that_of_the_masked_model(name: str, granularity: Any) -> None:
    model, inputs = language_model(name)
    model.eval()
    report = lp.prune(
        model, inputs, sparsity=0.5, criterion=lp.Random(), granularity=granularity, of="units"
    )
    assert any(group.units in {2, 4} for group in report.groups), "heads"
    masked = copy.deepcopy(model)
    compact = lp.compact(model, inputs, latency=False)
    assert compact.refused == {}
    assert compact.params_after < compact.params_before
    prompt = {k: v for k, v in inputs.items() if not k.startswith("decoder")}
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": 1}
    texts = [one.generate(**prompt, **options) for one in (model, masked)]
    assert torch.equal(*texts)
