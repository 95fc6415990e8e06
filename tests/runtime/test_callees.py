import copy
import pickle

import pytest
import torch
from support.helping import Fold, Folds
from torch import nn

import lightning_prune as lp
from lightning_prune.runtime.callees import Rerouted, ReroutedMethod, callees_of, function_of

X = torch.randn(3, 5)


def compact_folds(fold: object) -> tuple[nn.Module, nn.Module]:
    model = Folds(fold).eval()
    with torch.no_grad():
        for row in (0, 3, 4, 7):
            model.first.weight[row] = 0
            model.first.bias[row] = 0
    masked = copy.deepcopy(model)
    assert lp.compact(model, X, latency=False).refused == {}
    assert model.first.out_features == 4
    return masked, model


def test_functions_methods_and_objects_are_told_apart_from_modules() -> None:
    module = Folds(Fold())
    module.act, module.method, module.built_in = attend, Fold().__call__, torch.relu
    module.layer, module.kind = nn.ReLU(), nn.ReLU
    assert dict(callees_of(module)) == {
        "fold": Fold.__call__,
        "act": attend,
        "method": Fold.__call__,
    }
    assert function_of(3) is None


def attend(x: torch.Tensor) -> torch.Tensor:
    return x


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_runs_the_corrected_code(copied) -> None:
    masked, model = compact_folds(Fold())
    torch.testing.assert_close(copied(model)(X), masked(X))


def test_another_object_of_the_same_class_may_take_its_place() -> None:
    masked, model = compact_folds(Fold())
    model.fold = Fold()
    torch.testing.assert_close(model(X), masked(X))


def test_an_object_of_another_class_is_refused() -> None:
    class Other(Fold):
        def __call__(self, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
            return x

    _, model = compact_folds(Fold())
    model.fold = Other()
    with pytest.raises(RuntimeError, match=r"Expected a call of Fold\.__call__, .* Set it before"):
        model(X)


def test_what_is_rerouted_gets_what_its_function_got() -> None:
    fold = Fold()
    for callee, first in ((fold, (fold,)), (fold.__call__, (fold,)), (attend, ())):
        original = function_of(callee)
        given = Rerouted(original, lambda *args, **kwargs: (args, kwargs))(callee, 1, a=2)
        assert given == ((*first, 1), {"a": 2})


def test_a_method_is_replaced_at_one_call_as_long_as_it_is_the_class_own() -> None:
    class Own(nn.Module):
        def own(self, x: torch.Tensor, sign: int = 1) -> torch.Tensor:
            return x

    module = Own()
    rerouted = ReroutedMethod("own", lambda self, x, sign: (self, sign * x))
    owner, found = rerouted(module.own, X, sign=-1)
    assert owner is module
    assert torch.equal(found, -X)
    module.own = lambda x: x
    with pytest.raises(RuntimeError, match="Expected a call of the method own"):
        rerouted(module.own, X, sign=1)
