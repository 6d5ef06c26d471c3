"""Layers that keep their weights as codes: ordinary modules, whose state holds a container in place of a weight.

A coded layer has a buffer `code` of bytes, so that its state is saved, loaded and moved as any other. Its weights are
constants: no gradient goes to them, while gradients go through to the inputs and to the bias, which is a parameter.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.compression.layers import Layer, compressible_layers, replaced
from deepcollapse.compression.storage.forms import Coded, Form, coded, read_coded
from deepcollapse.compression.storage.read import MEMORY_LIMIT
from deepcollapse.errors import ContainerError, DeepCollapseError, OptionError, ShapeError
from deepcollapse.geometry.unfolding import channel_unfolding

ProductMode = Literal["dense", "coded"]

# No form takes more than so many times the dense matrix while it is read: 4 bytes an entry, 6 for symbols that
# were decoded, 16 of code words, 32 for columns and symbols of its own, and 128 in a run that is decoded.
OF_DENSE = 48


class CodedLayer(nn.Module):
    """What coded layers have in common; make one with `coded_layer`.

    The weight is decoded when it is first needed and kept until the code changes; it is no part of the state. Copies
    and pickles leave it out. Decoding takes at most `memory_limit` bytes: 1 GiB, or what any code of a weight of this
    size may take where the layer was made from one that was in memory.
    """

    code: Tensor
    like: Tensor
    bias: nn.Parameter | None

    def __init__(self, layer: Layer, code: Tensor) -> None:
        super().__init__()
        self.weight_shape = tuple(layer.weight.shape)
        self.memory_limit = MEMORY_LIMIT
        if layer.weight.device.type != "meta":  # where it is, sizes may be what a file declares
            self.memory_limit = limit_of(self.weight_shape)
        self.register_buffer("code", code)
        # Empty: it takes on the dtype of the layer when the network is converted to another.
        self.register_buffer("like", torch.empty(0, dtype=layer.weight.dtype, device=code.device), persistent=False)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone(), layer.bias.requires_grad)
        self._kept: dict[str, Any] = {}
        self.train(layer.training)

    @property
    def container(self) -> Coded:
        """The code as it was read and checked, in memory of its own. Raises ContainerError where it is damaged."""
        return _read(self.code, self.weight_shape, self.memory_limit)

    @property
    def weights_used(self) -> int:
        """How many weights are not zero."""
        return self._once("used", lambda: self.container.nonzeros)

    @property
    def weight(self) -> Tensor:
        """The decoded weight, on the device of the code and in the layer's dtype; a constant."""
        return self._once("weight", self._decoded)

    def _decoded(self) -> Tensor:
        if self.code.device.type == "meta":
            return torch.empty(self.weight_shape, dtype=self.like.dtype, device="meta")
        matrix = np.ascontiguousarray(self.container.matrix().T)
        return torch.from_numpy(matrix).reshape(self.weight_shape).to(self.code.device, self.like.dtype)

    def _once(self, what: str, make: Any) -> Any:
        # A layer that is moved, converted, or given another code has other buffers.
        source = (self.code, self.like)
        if any(now is not then for now, then in zip(source, self._kept.get("source", (None, None)), strict=True)):
            self._kept = {"source": source}
        if what not in self._kept:
            self._kept[what] = make()
        return self._kept[what]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take another code, of any length, if it is that of a weight of the same shape."""
        code = state_dict.get(f"{prefix}code")
        if code is not None:
            try:
                _read(code, self.weight_shape, self.memory_limit)
            except DeepCollapseError as error:
                error_msgs.append(f"{prefix}code: {error}")
                return
            if code.shape != self.code.shape:
                self.code = torch.empty_like(code, device=self.code.device)
        arguments = (local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self._kept = {}  # the buffer may have been written into

    def _told(self) -> str:
        found = self.container
        return f"bias={self.bias is not None}, form={found.form!r}, bytes={len(self.code)}"


class CodedLinear(CodedLayer):
    """A linear layer with coded weights. With `product` "coded" it multiplies straight from the code.

    That takes no memory for the weight, but needs numba; it is used on the CPU where no gradient is wanted, elsewhere
    the decoded weight is.

    >>> layer = nn.Linear(4, 2)
    >>> _ = nn.init.eye_(layer.weight)
    >>> coded_layer(layer)
    CodedLinear(in_features=4, out_features=2, bias=True, form='delta', bytes=35)
    """

    def __init__(self, layer: nn.Linear, code: Tensor, product: ProductMode = "dense") -> None:
        super().__init__(layer, code)
        if product not in ("dense", "coded"):
            raise OptionError(f"there is no product {product!r}; choose 'dense' or 'coded'.")
        self.product = product
        self.out_features, self.in_features = self.weight_shape

    def forward(self, inputs: Tensor) -> Tensor:
        """Y (..., m) of X (..., n)."""
        wanted = torch.is_grad_enabled() and inputs.requires_grad
        if self.product == "dense" or wanted or inputs.device.type != "cpu" or torch.compiler.is_compiling():
            return functional.linear(inputs, self.weight, self.bias)
        return self._from_the_code(inputs)

    def _from_the_code(self, inputs: Tensor) -> Tensor:
        from deepcollapse.compression.storage.products import Product

        by = self._once("product", lambda: Product.of(self.container))
        rows = inputs.detach().reshape(-1, inputs.shape[-1])
        exact = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
        sums = torch.from_numpy(by(exact.numpy(), torch.get_num_threads())).to(inputs.dtype)
        sums = sums.reshape(*inputs.shape[:-1], self.out_features)
        return sums if self.bias is None else sums + self.bias

    def extra_repr(self) -> str:
        """Sizes and code."""
        return f"in_features={self.in_features}, out_features={self.out_features}, {self._told()}"

    def dense(self) -> nn.Linear:
        """An ordinary layer with the decoded weight."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        return _filled(layer, self)


class CodedConv(CodedLayer):
    """A convolution in one, two or three dimensions with coded weights; it convolves with the decoded ones.

    >>> layer = nn.Conv2d(1, 2, 3, padding=1)
    >>> _ = nn.init.zeros_(layer.weight)
    >>> coded_layer(layer)
    CodedConv(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=True, form='delta', bytes=30)
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, code: Tensor) -> None:
        super().__init__(layer, code)
        self.in_channels, self.out_channels, self.groups = layer.in_channels, layer.out_channels, layer.groups
        self.kernel_size, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation
        self.padding, self.padding_mode = layer.padding, layer.padding_mode
        self._reversed_padding_repeated_twice = layer._reversed_padding_repeated_twice

    def forward(self, inputs: Tensor) -> Tensor:
        """The convolution of inputs (B, in_channels, ...)."""
        # What torch's own layers do with a weight, padding modes and all; it asks for no more than the names above.
        convolve: Any = self._kind._conv_forward
        return convolve(self, inputs, self.weight, self.bias)

    @property
    def _kind(self) -> type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]:
        return (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(self.kernel_size) - 1]

    def extra_repr(self) -> str:
        """What torch's own layers tell, and the code."""
        facts = [f"{name}={getattr(self, name)}" for name in ("kernel_size", "stride", "padding")]
        facts += [f"dilation={self.dilation}"] if set(self.dilation) != {1} else []
        facts += [f"groups={self.groups}"] if self.groups != 1 else []
        facts += [f"padding_mode={self.padding_mode!r}"] if self.padding_mode != "zeros" else []
        return ", ".join([f"{self.in_channels}, {self.out_channels}", *facts, self._told()])

    def dense(self) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
        """An ordinary layer with the decoded weight."""
        kind: Any = self._kind
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        settings = {name: getattr(self, name) for name in names} | {"bias": self.bias is not None, "device": "meta"}
        return _filled(kind(self.in_channels, self.out_channels, self.kernel_size, **settings), self)


def coded_layer(
    layer: Layer,
    code: Tensor | Coded | None = None,
    form: Form = "smallest",
    product: ProductMode = "dense",
    memory_limit: int | None = None,
) -> CodedLinear | CodedConv:
    """A linear or convolutional layer with its weight in code: its own, or the `code` of another of the same shape.

    Weights are coded as float32. `product` concerns linear layers. A code may take `memory_limit` bytes when it is
    decoded; by default 1 GiB, or what any code of a weight of this size may take. Raises NonFiniteError, OptionError,
    MemoryBudgetError, and ContainerError or ShapeError where the code is damaged or that of another shape.

    >>> layer = nn.Linear(3, 2)
    >>> torch.equal(coded_layer(layer)(torch.eye(3)), layer(torch.eye(3)))
    True
    """
    shape = tuple(layer.weight.shape)
    limit = limit_of(shape) if memory_limit is None else memory_limit
    if code is None:
        code = coded(channel_unfolding(layer.weight.detach()).T.float().cpu().numpy(), form)
    if isinstance(code, Tensor):
        _read(code, shape, limit)
    else:  # whoever has one in memory has checked it, or made it
        _check_shape(code, shape)
        code = torch.frombuffer(bytearray(code.to_bytes()), dtype=torch.uint8)
    code = code.to(layer.weight.device)
    made = CodedLinear(layer, code, product) if isinstance(layer, nn.Linear) else CodedConv(layer, code)
    made.memory_limit = limit
    return made


def code_layers(
    network: nn.Module,
    names: Sequence[str] | None = None,
    form: Form = "smallest",
    product: ProductMode = "dense",
    memory_limit: int | None = None,
) -> nn.Module:
    """A copy of the network with the weights of its linear and convolutional layers, or of those named, in code.

    A layer stays as it is where its code would take more bytes than its weight. Layers that occur several times stay
    shared. `memory_limit` is that of `coded_layer`. Raises LayerNameError, NonFiniteError, OptionError.

    >>> network = nn.Sequential(nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, 2))
    >>> _ = nn.init.eye_(network[0].weight)
    >>> code_layers(network)
    Sequential(
      (0): CodedLinear(in_features=50, out_features=20, bias=True, form='delta', bytes=...)
      (1): ReLU()
      (2): Linear(in_features=20, out_features=2, bias=True)
    )
    """
    layers = compressible_layers(network, names)
    fits = {name: coded_layer(layer, None, form, product, memory_limit) for name, layer in layers.items()}
    smaller = {name: layer for name, layer in fits.items() if len(layer.code) < layers[name].weight.nbytes}
    return replaced(network, smaller)


def decoded(network: nn.Module) -> nn.Module:
    """A copy of the network with ordinary layers in place of coded ones, for training on and for `torch.export`.

    >>> decoded(coded_layer(nn.Linear(3, 2)))
    Linear(in_features=3, out_features=2, bias=True)
    """
    dense = {
        name: layer.dense() for name, layer in network.named_modules() if isinstance(layer, CodedLinear | CodedConv)
    }
    return replaced(network, dense)


def limit_of(shape: tuple[int, ...]) -> int:
    """What a code of a weight of this shape may take: whoever has room for the weight may decode any code of it."""
    return max(MEMORY_LIMIT, OF_DENSE * 4 * int(np.prod(shape)))


def _read(code: Tensor, shape: tuple[int, ...], memory_limit: int) -> Coded:
    """The code of a weight of this shape, checked."""
    if code.dtype != torch.uint8 or code.ndim != 1:
        raise ContainerError(f"a code is a vector of uint8; got shape {tuple(code.shape)} of {code.dtype}.")
    found = read_coded(code.detach().cpu().numpy().tobytes(), memory_limit)
    _check_shape(found, shape)
    return found


def _check_shape(found: Coded, shape: tuple[int, ...]) -> None:
    outputs, inputs = shape[0], int(np.prod(shape[1:]))
    if (found.rows, found.columns) != (inputs, outputs):
        raise ShapeError(
            f"the code is that of {found.rows} inputs and {found.columns} outputs; "
            f"a weight of shape {shape} has {inputs} and {outputs}."
        )


def _filled(layer: Any, source: CodedLayer) -> Any:
    """A layer without memory of its own, with the weight and bias of a coded one."""
    layer.weight = nn.Parameter(source.weight.clone())
    if source.bias is not None:
        layer.bias = nn.Parameter(source.bias.detach().clone(), source.bias.requires_grad)
    return layer.train(source.training)
