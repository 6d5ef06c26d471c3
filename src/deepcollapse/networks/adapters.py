"""Networks of timm, torchvision and Hugging Face transformers: random weights unless pretrained ones are asked for."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from deepcollapse.errors import MissingExtraError, OptionError, UnknownNameError, WeightsError
from deepcollapse.networks.checks import suggestion
from deepcollapse.networks.weights import first_line

Shape = tuple[int, ...] | None


def _imported(module: str, prefix: str, extra: str) -> ModuleType:
    """The module, or `MissingExtraError` that tells an absent package from one that does not load."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError) as error:
        absent = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and absent in (package, "torchvision"):
            raise MissingExtraError(
                f"networks named {prefix}:... need the package {absent}, which is not installed. "
                f"Install it with: pip install 'deepcollapse[{extra}]'"
            ) from None
        raise _does_not_load(package, prefix, error) from error


def _does_not_load(package: str, prefix: str, error: BaseException) -> MissingExtraError:
    """What to say where a package is there and its import fails: mostly a torchvision made for another torch.

    That one is a RuntimeError, which transformers wraps in a ModuleNotFoundError of its own that hides the reason.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return MissingExtraError(
        f"networks named {prefix}:... need the package {package}, which is installed but does not load "
        f"({type(error).__name__}: {first_line(error)}). Where the message names torchvision, its build does not "
        "fit this torch: install both anew from one source, for example with "
        "uv pip install --reinstall --torch-backend=auto torch torchvision."
    )


def _check_name(kind: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        raise UnknownNameError(f"{kind} has no network called {name!r}.{suggestion(name, known)}")


def _check_head(name: str, num_classes: int | None, published: int) -> None:
    """A pretrained network keeps its head: a new one would be random, and its numbers would mean nothing."""
    if num_classes is not None and num_classes != published:
        raise OptionError(
            f"the pretrained weights of {name!r} are for {published} classes; num_classes={num_classes} came in. Leave "
            "num_classes out, or name a package.module:factory of yours that replaces the head and has been trained."
        )


def _make(name: str, make: Any, *arguments: Any, **parameters: Any) -> nn.Module:
    """What `make` gives; a parameter that it refuses becomes `OptionError`."""
    try:
        return make(*arguments, **parameters)
    except (TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
        raise OptionError(
            f"network {name!r} could not be made with {given}. {type(error).__name__}: {first_line(error)}"
        ) from error
    except ImportError as error:
        prefix = name.partition(":")[0]
        raise _does_not_load({"hf": "transformers"}.get(prefix, prefix), prefix, error) from error
    except OSError as error:
        raise WeightsError(
            f"the pretrained weights of {name!r} could not be had ({type(error).__name__}: {first_line(error)}). "
            "Offline, put them in the package's cache first, or name a file with weights=PATH."
        ) from error


def timm_network(
    name: str, num_classes: int | None, image_shape: Shape, pretrained: bool | None, **parameters: Any
) -> nn.Module:
    """`timm.create_model`, told the channels, and the image size where the architecture fixes one."""
    timm = _imported("timm", "timm", "vision")
    _check_name("timm", name.partition(".")[0], timm.list_models())
    published: Any = timm.get_pretrained_cfg(name)
    if pretrained and published is not None:
        _check_head(f"timm:{name}", num_classes, published.num_classes)
    settings: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if image_shape is not None:
        settings["in_chans"] = image_shape[0]
        if published is not None and published.fixed_input_size:
            settings["img_size"] = tuple(image_shape[1:])
    return _make(f"timm:{name}", timm.create_model, name, pretrained=bool(pretrained), **{**settings, **parameters})


def torchvision_network(
    name: str, num_classes: int | None, image_shape: Shape, pretrained: bool | None, **parameters: Any
) -> nn.Module:
    """`torchvision.models.get_model`, classifiers only; they take images of three channels."""
    models: Any = _imported("torchvision.models", "torchvision", "vision")
    _check_name("torchvision", name, models.list_models(module=models))
    if image_shape is not None and image_shape[0] != 3:
        raise OptionError(
            f"torchvision's networks take images of 3 channels; image_shape={image_shape} has {image_shape[0]}. "
            "Use a network of our own or timm:NAME, which fit their first layer to the images."
        )
    settings: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if pretrained:
        _check_head(f"torchvision:{name}", num_classes, len(models.get_model_weights(name).DEFAULT.meta["categories"]))
        settings["weights"] = "DEFAULT"
    return _make(f"torchvision:{name}", models.get_model, name, **{**settings, **parameters})


def huggingface(
    name: str, num_classes: int | None, image_shape: Shape, pretrained: bool | None, **parameters: Any
) -> nn.Module:
    """An image or text classifier from the configuration at `name`: a folder, or a name on the hub.

    Weights that lie in the folder are loaded unless `pretrained` is False, since a folder costs no download. Code that
    comes with a configuration is never run.
    """
    transformers: Any = _imported("transformers", "hf", "hf")
    folder = Path(name).expanduser()
    source = str(folder) if folder.is_dir() else name
    has_weights = any(folder.glob("model*.safetensors"))
    published = _config(transformers, name, source)
    make = _auto_class(transformers, name, published)
    if pretrained or (pretrained is None and has_weights):
        _check_head(f"hf:{name}", num_classes, published.num_labels)
        return _make(f"hf:{name}", make.from_pretrained, source, trust_remote_code=False, **parameters)
    if image_shape is not None:
        fitting = {"num_channels": image_shape[0], "image_size": image_shape[-1]}
        parameters = {**{key: size for key, size in fitting.items() if hasattr(published, key)}, **parameters}
    config = _config(transformers, name, source, **parameters)
    if num_classes is not None:
        # Set here and not handed on above, where transformers would warn that the published class names do not fit.
        config.num_labels = num_classes
    return _make(f"hf:{name}", make.from_config, config, trust_remote_code=False)


def _config(transformers: Any, name: str, source: str, **settings: Any) -> Any:
    try:
        config, unused = transformers.AutoConfig.from_pretrained(
            source, trust_remote_code=False, return_unused_kwargs=True, **settings
        )
    except (OSError, ValueError) as error:
        raise UnknownNameError(
            f"no configuration could be read for 'hf:{name}' ({type(error).__name__}: {first_line(error)}). "
            "Name a folder that holds config.json, or, online, a network on the Hugging Face hub."
        ) from error
    unused.pop("trust_remote_code", None)
    if unused:
        raise OptionError(f"the configuration of 'hf:{name}' has no parameter {', '.join(map(repr, unused))}.")
    return config


def _auto_class(transformers: Any, name: str, config: Any) -> Any:
    """The kind of classifier that this configuration can be: of images, or of texts."""
    kinds = (transformers.AutoModelForImageClassification, transformers.AutoModelForSequenceClassification)
    for kind in kinds:
        if type(config) in kind._model_mapping:
            return kind
    raise OptionError(
        f"'hf:{name}' is of type {config.model_type!r}, of which transformers has no image or text classifier."
    )
