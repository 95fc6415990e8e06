"""Grammar: random pieces of nets, and pieces inside them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from fuzzing import fixed, functions, parts, states
from fuzzing.dice import Dice
from fuzzing.layers import Layout, activation
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


class Grammar:
    """Draws pieces in one layout.

    Args:
        dice: the random choices.
        layout: where channels lie.
        weights: how likely each family of pieces is: ``"chain"``, ``"streams"``, ``"residual"``,
            ``"tied"``, ``"views"``, ``"idle"``, ``"functions"``, ``"fixed"``.
    """

    def __init__(self, dice: Dice, layout: Layout, **weights: int) -> None:
        self.dice, self.layout = dice, layout
        self._families = [name for name, weight in weights.items() for _ in range(weight)]

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        """Return a layer with what usually follows it."""
        dice = self.dice
        found = [self.layout.mix(dice, inputs, outputs)]
        if dice.chance(0.06):
            found[0] = dice.choose(weight_norm, spectral_norm)(found[0])
        if dice.chance(0.03):
            found[0].register_forward_hook(functions.shift_output)
        if dice.chance(0.02):
            found[0].register_forward_pre_hook(functions.square_input)
        if dice.chance(0.4):
            found.append(self.layout.norm(dice, outputs))
        if dice.chance(0.7):
            found.append(activation(dice))
        if dice.chance(0.1):
            found.append(nn.Dropout(0.2))
        if dice.chance(0.1):
            found = found[::-1] if inputs == outputs else found
        return nn.Sequential(*found) if len(found) > 1 else found[0]

    def chain(self, inputs: int, outputs: int, layers: int | None = None) -> nn.Module:
        """Return layers one after the other."""
        layers = self.dice.between(1, 3) if layers is None else layers
        widths = [inputs, *(self.dice.width() for _ in range(layers - 1)), outputs]
        found = [self.layer(*pair) for pair in pairwise(widths)]
        return nn.Sequential(*found)

    def body(self, width: int, pieces: int, depth: int = 2) -> nn.Module:
        """Return pieces from ``width`` channels to as many."""
        return nn.Sequential(*(self.piece(width, depth) for _ in range(pieces)))

    def piece(self, width: int, depth: int = 1) -> nn.Module:
        """Return one piece from ``width`` channels to as many."""
        if depth <= 0 or not self._families:
            return self.chain(width, width, self.dice.between(1, 2))
        family: Callable[[int, int], nn.Module] = getattr(
            self, "_" + self.dice.choose(*self._families)
        )
        return family(width, depth - 1)

    def _chain(self, width: int, depth: int) -> nn.Module:
        return self.chain(width, width)

    def _streams(self, width: int, depth: int) -> nn.Module:
        dice, dim = self.dice, self.layout.dim
        first, second = self.piece(width, depth), self.piece(width, depth)
        kinds = (parts.Sum, parts.Sum, parts.Product, parts.Gate, parts.Highway, parts.Difference)
        others = (parts.Maximum, parts.Select, parts.Quotient, parts.Crossed)
        joined = lambda *given: parts.Joined(*given, self.chain(3 * width, width, 1))  # noqa: E731
        return dice.choose(*kinds, *others, joined, joined)(dim, first, second)

    def _residual(self, width: int, depth: int) -> nn.Module:
        dice, dim = self.dice, self.layout.dim
        kind = dice.choose("plain", "plain", "norm first", "norm last", "scaled", "loop")
        if kind == "loop":
            return parts.Loop([self.piece(width, depth) for _ in range(2)])
        inner = self.piece(width, depth)
        if kind == "norm first":
            return parts.Residual(nn.Sequential(self.layout.norm(dice, width), inner))
        if kind == "norm last":
            return nn.Sequential(parts.Residual(inner), self.layout.norm(dice, width))
        if kind == "scaled":
            return parts.ScaledResidual(inner, width, dim)
        return parts.Residual(inner)

    def _tied(self, width: int, depth: int) -> nn.Module:
        dice, dim = self.dice, self.layout.dim
        if dice.chance(0.4):
            return parts.Transposed(dim, width, dice.width())
        if dice.chance(0.5):
            return parts.Twice(self.layer(width, width), self.piece(width, depth))
        first, second = self.layout.mix(dice, width, width), self.layout.mix(dice, width, width)
        if first.weight.shape == second.weight.shape:
            second.weight = first.weight
        between = self.layer(width, width)
        return nn.Sequential(first, activation(dice), between, second)

    def _views(self, width: int, depth: int) -> nn.Module:
        dice, dim = self.dice, self.layout.dim
        both = self.chain(width, 2 * width, 1)
        return dice.choose(
            lambda: parts.Halves(dim, both, self.layer(width, width), dice.chance(0.5)),
            lambda: parts.Regrouped(dim, width, self.piece(width, depth)),
            lambda: nn.Sequential(
                parts.Interleaved(dim, 2 * width, both), self.layer(2 * width, width)
            ),
            lambda: parts.Squeeze(dim, width),
            lambda: states.Pairs(dim, width, dice.width()),
            lambda: nn.Sequential(
                states.Standardised(dim, width, 2 * width),
                activation(dice),
                self.layer(2 * width, width),
            ),
            lambda: nn.Sequential(states.Soft(dim), self.layer(width, width)),
            lambda: nn.Sequential(states.Unit(dim), self.layer(width, width)),
        )()

    def _idle(self, width: int, depth: int) -> nn.Module:
        dice, dim = self.dice, self.layout.dim
        return dice.choose(
            lambda: states.Threshold(dim, self.piece(width, depth)),
            lambda: states.Warm(self.piece(width, depth)),
            lambda: parts.Added(dim, width),
            lambda: states.Centred(self.piece(width, depth)),
            lambda: states.InPlace(self.piece(width, depth)),
            lambda: nn.Sequential(self.layer(width, width), states.Average(dim, width)),
            lambda: nn.Sequential(self.layer(width, width), states.Largest()),
            lambda: nn.Sequential(self.layout.mix(dice, width, width), nn.ReLU()),
            lambda: parts.Sum(
                dim,
                nn.Sequential(self.layout.mix(dice, width, width), nn.ReLU()),
                self.piece(width, depth),
            ),
        )()

    def _functions(self, width: int, depth: int) -> nn.Module:
        dice, dim = self.dice, self.layout.dim
        if dice.chance(0.12):
            return functions.Experts(dim, width, dice.width(), dice.chance(0.5))
        if dice.chance(0.1):
            return functions.Siamese(dim, self.layer(width, width), self.chain(2 * width, width, 1))
        family = dice.choose("each", "each", "channels", "positions")
        if family == "positions" and self.layout.name == "vectors":
            family = "each"
        name = dice.choose(*functions.FAMILIES[family])
        found = [self.layer(width, width), functions.Apply(dim, family, name)]
        return nn.Sequential(*found, self.piece(width, depth))

    def _fixed(self, width: int, depth: int) -> nn.Module:
        dice, dim = self.dice, self.layout.dim
        held = dice.choose(
            *"buffer frozen computed scaled divisor factor cosine".split(), "not saved"
        )
        norms = dice.choose("pow", "var", "twice", "var_mean")
        return dice.choose(
            lambda: nn.Sequential(self.layer(width, width), fixed.Offsets(dim, width, held)),
            lambda: nn.Sequential(
                self.layer(width, width),
                fixed.Offsets(dim, width, held),
                self.layout.norm(dice, width),
            ),
            lambda: nn.Sequential(
                self.layer(width, width), fixed.WrittenNorm(dim, width, norms), activation(dice)
            ),
            lambda: nn.Sequential(
                self.layer(width, width),
                fixed.Extremes(dim, dice.choose("maximum", "minimum", "deviation", "logsumexp")),
            ),
            lambda: fixed.Beside(
                self.piece(width, depth), dice.choose("product", "where", "in place", "maximum")
            ),
        )()
