"""The site of an operation is the method that runs and the expressions on the way."""

from __future__ import annotations

import functools
import textwrap
from pathlib import Path
from typing import Any

import torch
from support import helping
from support.nets import Net
from torch import Tensor, nn

from lightning_prune.coupling import couple
from lightning_prune.coupling.graph import Site
from lightning_prune.coupling.record import record
from lightning_prune.coupling.rules import RULES
from lightning_prune.coupling.sites import (
    Sites,
    file_of,
    file_of_copy,
    is_torch,
    is_torch_layer,
    is_transformation,
    methods_of,
    unwrapped,
)
from lightning_prune.modules.inputs import ExampleInputs


def wrapping(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def negative(x: Tensor) -> Tensor:
    return x.neg()


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).abs()


class Derived(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        x = negative(self.__square(x))
        doubled = [t.exp() for t in (x, x)]
        x = doubled[0] + self.decorated(x)
        return x + self.cosine + self.other(x)

    def __square(self, x: Tensor) -> Tensor:
        self.x = x.square()
        return self.x

    @torch.no_grad()
    @wrapping
    def decorated(self, x: Tensor) -> Tensor:
        return (lambda t: t.sin())(x)

    @property
    def cosine(self) -> Tensor:
        return self.x.cos()

    def name_of_its_own(self, x: Tensor) -> Tensor:
        return helping.folded(x, 3).tan()

    def handed_on(self, x: Tensor) -> Tensor:
        return of_module(self, x) * of_tensor(x)

    other = name_of_its_own


def of_module(module: nn.Module, x: Tensor) -> Tensor:
    return x.erf()


def of_tensor(x: Tensor) -> Tensor:
    return x.ceil()


def sites(model: nn.Module, x: Tensor) -> dict[str, Site | None]:
    graph = couple(model, x).traces.traces[0].graph
    return {node.name.removeprefix("aten::"): node.site for node in graph}


def chain(site: Site | None) -> list[str]:
    assert site is not None
    return [call.code.co_name for call in site.calls if not is_torch(call.code)]


def test_sites_name_the_module_the_method_and_the_calls():
    found = sites(Derived(), torch.randn(2, 3))
    assert found["abs"].module == ""
    assert found["abs"].method == "forward"
    assert chain(found["abs"]) == ["forward", "forward"]  # through super
    assert chain(found["neg"]) == ["forward", "negative"]
    assert found["square"].method == "_Derived__square"
    assert chain(found["square"]) == ["__square"]
    assert chain(found["exp"]) == ["forward", "<listcomp>"] or chain(found["exp"]) == ["forward"]
    assert found["sin"].method == "decorated"
    assert chain(found["sin"]) == ["decorated", "<lambda>"]
    assert found["cos"].method == "cosine"
    assert found["tan"].method in {"other", "name_of_its_own"}
    assert chain(found["reshape"]) == ["name_of_its_own", "folded"]
    assert (found["linear"].module, found["linear"].method) == ("inner", "forward")


def test_positions_are_those_of_the_expression():
    found = sites(Derived(), torch.randn(2, 3))
    call = found["neg"].calls[1]
    first = call.code.co_firstlineno
    line = "    return x.neg()"
    assert call.position.line == call.position.end_line == first + 1
    assert line[call.position.column : call.position.end_column] == "x.neg()"


class Helping(nn.Module):
    def help(self, x: Tensor) -> Tensor:
        return x.erf()

    def more(self, x: Tensor) -> Tensor:
        return self.help(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.more(x) + self.down(x.ceil(), 9)

    def down(self, x: Tensor, times: int) -> Tensor:
        return self.down(x, times - 1) if times else x.floor()


def test_sites_know_the_methods_that_called_one_another():
    site = sites(Helping(), torch.randn(2, 3))["erf"]
    methods = []
    while site is not None:
        methods.append((site.method, chain(site)))
        site = site.from_caller
    assert methods == [
        ("help", ["help"]),
        ("more", ["more", "help"]),
        ("forward", ["forward", "more", "help"]),
    ]


def test_sites_know_a_few_callers_and_none_of_other_modules():
    found = sites(nn.Sequential(Helping()), torch.randn(2, 3))
    assert found["ceil"].method == "forward"
    assert found["ceil"].from_caller is None
    site, levels = found["floor"], 0
    while site.caller is not None:
        assert site.method == "down"
        site, levels = site.from_caller, levels + 1
    assert levels == 4


def test_calls_tell_whether_they_are_given_the_module():
    class Handing(Derived):
        def forward(self, x: Tensor) -> Tensor:
            return self.handed_on(x)

    found = sites(Handing(), torch.randn(2, 3))
    given = {
        name: [c.is_given_module for c in found[name].calls if not is_torch(c.code)]
        for name in ("erf", "ceil")
    }
    assert given == {"erf": [True, True], "ceil": [True, False]}


def test_outside_of_a_model_there_is_no_site():
    assert Sites(nn.Linear(2, 2)).here() is None


def test_the_line_is_that_of_code_which_is_not_torchs():
    net = Net(lambda m, x: torch.nn.functional.normalize(m.first(x)), first=nn.Linear(3, 3))
    lines = {node.line for node in couple(net, torch.randn(2, 3)).traces.traces[0].graph}
    assert all(line.startswith("test_sites.py:") for line in lines)


def test_methods_are_those_that_instances_run():
    methods = set(methods_of(Derived).values())
    assert {"forward", "_Derived__square", "decorated", "cosine"} <= methods
    assert Base.forward.__code__ not in methods_of(Derived)
    assert Base.forward.__code__ in methods_of(Base)
    assert nn.Module.__call__.__code__ not in methods_of(Derived)
    assert "train" not in methods


class WithStatics(nn.Module):
    @staticmethod
    def static(x: Tensor) -> Tensor:
        return x

    @classmethod
    def of_the_class(cls, x: Tensor) -> Tensor:
        return x


def test_functions_that_do_not_know_the_instance_are_no_methods():
    assert not {"static", "of_the_class"} & set(methods_of(WithStatics).values())


def test_unwrapped_is_below_decorators_and_properties():
    assert unwrapped(vars(Derived)["decorated"]).__code__.co_name == "decorated"
    assert unwrapped(vars(Derived)["cosine"]).__code__.co_name == "cosine"
    assert unwrapped(vars(WithStatics)["static"]) is WithStatics.static
    assert unwrapped(negative) is negative
    assert unwrapped(3) == 3


def test_a_copy_stands_in_the_file_of_the_original_and_is_told_from_it():
    code = negative.__code__
    copied = code.replace(co_filename=file_of_copy(code, "1f"))
    assert file_of(copied) == file_of(code) == __file__
    assert file_of_copy(copied, "1f") == file_of_copy(code, "1f") == copied.co_filename
    assert copied.co_filename not in {__file__, file_of_copy(code, "2f")}


def test_code_of_torch():
    assert is_torch(torch.nn.functional.layer_norm.__code__)
    assert not is_torch(negative.__code__)
    assert is_torch_layer(nn.LayerNorm.forward.__code__)
    assert not is_torch_layer(nn.Module.__call__.__code__)
    assert not is_torch_layer(torch.nn.functional.layer_norm.__code__)
    assert is_transformation(torch.func.vmap.__code__)
    assert not is_transformation(nn.LayerNorm.forward.__code__)


def test_the_same_source_in_two_files_is_told_apart(tmp_path: Path) -> None:
    source = textwrap.dedent(
        """
        from torch import nn

        class Twice(nn.Module):
            def forward(self, x):
                return x.relu()
        """
    )
    found = []
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(source)
        names: dict[str, Any] = {}
        exec(compile(source, str(tmp_path / name), "exec"), names)
        (node,) = record(names["Twice"](), ExampleInputs.of(torch.ones(2)), RULES.__contains__)
        assert node.site is not None
        found.append(file_of(node.site.calls[0].code))
    assert found == [str(tmp_path / "one.py"), str(tmp_path / "two.py")]
