"""What to say where the library of an integration is absent, or is there and does not load."""

from deepcollapse.errors import MissingExtraError


def missing_extra(name: str, package: str, extra: str, error: BaseException) -> MissingExtraError:
    """The error for `name`, which needs `package` of `extra`, from the one that its import raised.

    A torchvision made for another torch raises RuntimeError, which other libraries may wrap: the first cause tells.

    >>> print(missing_extra("NeuralCollapse", "torchmetrics", "torchmetrics", ModuleNotFoundError(name="torchmetrics")))
    NeuralCollapse needs the package torchmetrics, which is not installed. Install it with: pip install
    'deepcollapse[torchmetrics]'
    """
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
        return MissingExtraError(
            f"{name} needs the package {package}, which is not installed. "
            f"Install it with: pip install 'deepcollapse[{extra}]'"
        )
    reason = str(error).strip().partition("\n")[0]
    return MissingExtraError(
        f"{name} needs the package {package}, which is installed but does not load "
        f"({type(error).__name__}: {reason}). Where the message names torchvision, its build does not fit this torch: "
        "uninstall it if you do not use it, or install both anew from one source, for example with "
        "uv pip install --reinstall --torch-backend=auto torch torchvision."
    )
