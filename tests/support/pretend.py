"""A device that is none: CPU tensors that say they lie on ``pretend``, so that device errors show without a GPU.

torch registers ``pretend`` as a backend of this process. Inside `Pretend()` every operation on its tensors runs on the CPU on
the numbers they hold, so control flow, losses and gradients are the real ones. An operation that mixes devices fails, as it
does on a GPU. What would cost time there is counted: kernels, and the places where the host waits for the device.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map_only

aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
WAITS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.equal.default,
    aten.repeat_interleave.Tensor,
}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._unsafe_index_put.default}
FREE = {
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "detach",
    "_unsafe_view",
    "lift_fresh",
}
"""Operations that start no kernel, next to the views."""
_plain_attention = F.scaled_dot_product_attention


class DeviceMixed(AssertionError):
    """An operation met tensors of two devices."""


class PretendTensor(torch.Tensor):
    """A tensor on ``pretend``; its numbers are in `held`, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "PretendTensor":
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=device(),
        )
        self.held = held
        return self

    @property
    def data(self) -> Tensor:
        """The tensor without its history."""
        return self.detach()

    @data.setter
    def data(self, other: Tensor) -> None:
        assert isinstance(other, PretendTensor), "a tensor on the device is to hold one of another device"
        torch.Tensor.data.__set__(self, other)
        self.held = other.held

    def tolist(self) -> Any:
        """Return the numbers; the host waits for them."""
        return self.to("cpu").tolist()

    def __repr__(self, **_: Any) -> str:
        return f"pretend({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation in a thread of autograd, which no mode reaches."""
        assert Pretend.running is not None, "a pretended tensor is used outside `with Pretend():`"
        return Pretend.running.run(func, args, kwargs or {})


def device() -> torch.device:
    """Return the device, registered on the first call."""
    _register()
    return torch.device("pretend", 0)


class Pretend(TorchDispatchMode):
    """Runs what is on ``pretend``, and counts.

    Attributes:
        counts: ``kernels`` and ``waits``, and the waits by their operation.
    """

    running: "Pretend | None" = None

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        _register()

    def __enter__(self) -> "Pretend":
        Pretend.running = self
        F.scaled_dot_product_attention = _attention
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) then shows its copy to the device
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        torch._C._set_only_lift_cpu_tensors(False)
        F.scaled_dot_product_attention = _plain_attention
        Pretend.running = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operation."""
        tensors = [leaf for leaf in tree_iter((args, kwargs)) if isinstance(leaf, Tensor)]
        is_there = [isinstance(tensor, PretendTensor) for tensor in tensors]
        wanted = kwargs.get("device")
        to_there = wanted is not None and torch.device(wanted).type == "pretend"
        if not any(is_there) and not to_there:
            return func(*args, **kwargs)
        is_home = not to_there if wanted is not None else func is aten.copy_.default and not is_there[0]
        if func not in MOVES:
            self._check(func, tensors)
        self._count(func, tensors, is_home)
        held_args, held_kwargs = tree_map_only(PretendTensor, lambda tensor: tensor.held, (args, kwargs))
        if wanted is not None:
            held_kwargs["device"] = torch.device("cpu")
        found = func(*held_args, **held_kwargs)
        if is_home:
            return found if func is not aten.copy_.default else args[0]
        if func is aten.copy_.default:
            return args[0]
        found = tree_map_only(Tensor, PretendTensor, found)
        return return_and_correct_aliasing(func, args, kwargs, found)

    def _check(self, func: Any, tensors: list[Tensor]) -> None:
        """Refuse tensors of two devices; CUDA takes single numbers from the CPU."""
        strangers = [t for t in tensors if not isinstance(t, PretendTensor) and t.dim() > 0]
        if strangers:
            shapes = [tuple(tensor.shape) for tensor in strangers]
            raise DeviceMixed(f"{func} met tensors of the CPU, of the shapes {shapes}, and of the device")

    def _count(self, func: Any, tensors: list[Tensor], is_home: bool) -> None:
        name = func.overloadpacket.__name__
        by_mask = func in INDEXING and any(t.dtype in (torch.bool, torch.uint8) for t in tensors[1:])
        if func in WAITS or is_home or by_mask:
            self.counts["waits"] += 1
            self.counts[f"wait:{name}"] += 1
        if not func.is_view and name not in FREE:
            self.counts["kernels"] += 1
            self.counts[f"kernel:{name}"] += 1


class _Attention(torch.autograd.Function):
    """Attention as one kernel forward and one backward, as a GPU has it; on other devices torch would spell it out."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict) -> Tensor:
        found = PretendTensor(_plain_attention(*_held(query, key, value), _held(mask)[0], **options))
        ctx.save_for_backward(query, key, value, mask, found)
        ctx.options = options
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, _ = ctx.saved_tensors
        _count_kernel("attention_backward")
        inputs = [tensor.detach().requires_grad_() for tensor in _held(query, key, value)]
        with torch.enable_grad():
            found = _plain_attention(*inputs, _held(mask)[0], **ctx.options)
        of_inputs = torch.autograd.grad(found, inputs, _held(*grads))
        return *(PretendTensor(grad) for grad in of_inputs), None, None


def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
    if not isinstance(query, PretendTensor):
        return _plain_attention(query, key, value, attn_mask, **options)
    assert Pretend.running is not None
    Pretend.running._check("attention", [t for t in (query, key, value, attn_mask) if t is not None])
    _count_kernel("attention")
    return _Attention.apply(query, key, value, attn_mask, options)


def _held(*tensors: Tensor | None) -> list[Any]:
    return [tensor.held if isinstance(tensor, PretendTensor) else tensor for tensor in tensors]


def _count_kernel(name: str) -> None:
    assert Pretend.running is not None
    Pretend.running.counts.update(["kernels", f"kernel:{name}"])


def _register() -> None:
    """Make ``pretend`` a backend of this process, once; it stays."""
    if torch._C._get_privateuse1_backend_name() == "pretend":
        return
    from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

    class Backend(_DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16]

        def get_rng_state(self, *_: Any) -> Tensor:
            return torch.get_rng_state()

        def set_rng_state(self, *_: Any) -> None:
            """Leave it: numbers are drawn on the CPU."""

    _setup_privateuseone_for_python_backend("pretend", backend_module=Backend())


@contextlib.contextmanager
def saved_bytes(weights: Iterable[Tensor]) -> Iterator[Counter[str]]:
    """Count the bytes that are kept for the backward pass inside the block, each storage once and no weight, as ``bytes``."""
    seen = {tensor.untyped_storage().data_ptr() for tensor in _held(*weights)}
    found: Counter[str] = Counter()
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        (held,) = _held(tensor)
        storage = held.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            found["bytes"] += storage.nbytes()
            found[str(held.dtype)] += storage.nbytes()
            kept.append(held)  # or another tensor might take its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
