import copy

from torch import nn

from lightning_prune.modules.news import _said, is_news


def test_a_message_is_news_once_for_every_model() -> None:
    model = nn.Linear(2, 2)
    assert is_news(model, "one")
    assert not is_news(model, "one")
    assert is_news(model, "two")
    assert is_news(copy.deepcopy(model), "one")


def test_a_model_is_not_kept_alive() -> None:
    before = len(_said)
    assert is_news(nn.Linear(2, 2), "one")
    assert len(_said) == before
