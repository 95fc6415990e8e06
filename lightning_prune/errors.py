"""The exceptions of lightning_prune.

An argument that is wrong by itself raises a plain `ValueError` or `TypeError`. What goes wrong
between an argument and a model raises one of these::

    PruningError
    ├── CaptureError         a forward pass runs, and no CUDA graph can hold it
    ├── ExampleInputsError   no example inputs, or the model does not run on them; a ValueError
    ├── ExportError          no file was made of a model for any runtime
    ├── RewriteError         a size in a module's source cannot be brought up to date
    ├── TargetError          nothing can be pruned, or not as much as was asked for
    └── VerificationError    a compact model would differ from the masked one; nothing was changed

Every message follows one sentence: *Expected `argument` to be …, but got …. The cure.*
"""


class PruningError(Exception):
    """Base class of what this package raises about a model."""


class CaptureError(PruningError):
    """A forward pass runs on a GPU, and cannot be recorded as a CUDA graph."""


class ExampleInputsError(PruningError, ValueError):
    """No example inputs were found, or the model does not run on them."""


class RewriteError(PruningError):
    """A size that a module's source holds cannot be brought up to date."""


class ExportError(PruningError):
    """No file was made of a model for any runtime."""


class TargetError(PruningError):
    """Nothing can be pruned, or the sparsity asked for is out of reach."""


class VerificationError(PruningError):
    """The compact model would not compute what the masked model computes."""
