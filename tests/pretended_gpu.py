"""A GPU for machines without one: its tensors compute on the CPU, but keep CUDA's rules, and what they cost is counted.

    with pretended_gpu() as gpu:
        session = TrialSession(config, dataset, Ranks(device=gpu.device))
        session.run_epoch()
    print(gpu.operations, gpu.syncs, gpu.copies)

A tensor says that it is on `cuda:0`. It refuses what CUDA refuses: tensors of both devices in one operation (except
for CPU tensors of 0 dimensions where CUDA takes them, and of indices), and a generator of the other device. Counted are
the operations that start a kernel, those for which the CPU waits (`.item()`, `nonzero`, ...), and the copies from the
CPU that are not out of pinned memory, or wait. Which operations wait is written down here, from torch's sources.
Mistakes with streams are told (`pretended_streams.py`).

How it works: torch's C++ sees a tensor of the device `meta`, so that nothing below the dispatcher runs and autograd
needs no driver. A function mode turns `cuda` into `meta` on the way in, and does the casts of autocast; a dispatch mode
computes.
"""

import contextlib
import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from tests.pretended_streams import Memory, Stream, Streams

CUDA, META, CPU = torch.device("cuda", 0), torch.device("meta"), torch.device("cpu")
aten = torch.ops.aten

# Operations whose CUDA kernels read a number back, and how often.
_WAITS = {
    "_local_scalar_dense": 1,
    "_unique2": 1,
    "bincount": 2,  # the least and the greatest value
    "equal": 1,
    "masked_select": 1,
    "nonzero": 1,
    "repeat_interleave": 1,
    "unique_consecutive": 1,
    "unique_dim": 1,
    "unique_dim_consecutive": 1,
}
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
_STARTS_NO_KERNEL = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "detach")

# What autocast runs in lower precision and in float32, as far as networks here call it.
_LOWERED = {torch.conv1d, torch.conv2d, torch.conv3d, F.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm}
_LOWERED |= {torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm, torch.Tensor.bmm}
_RAISED = {F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.normalize, torch.Tensor.softmax, torch.softmax}
_RAISED |= {torch.exp, torch.log, torch.pow, torch.sum, torch.norm, torch.cdist}
_RAISED |= {torch.Tensor.exp, torch.Tensor.log, torch.Tensor.pow, torch.Tensor.sum, torch.Tensor.norm}


class PretendedTensor(torch.Tensor):
    """A tensor of the pretended GPU.

    Attributes:
        inside: The CPU tensor with its values.
        memory: Where it would be on a GPU.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl
    inside: torch.Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, inside: torch.Tensor) -> "PretendedTensor":
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.shape,
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=META,
        )
        tensor.inside = inside
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a tensor of the pretended GPU, outside of `pretended_gpu()`")

    @property
    def device(self) -> torch.device:
        return CUDA

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_meta(self) -> bool:
        return False

    def record_stream(self, stream: Stream) -> None:
        self.memory.recorded.add(stream)

    def __repr__(self) -> str:
        return f"pretended {self.inside!r}"


class PretendedGPU:
    """What happened on it since it was made, or since `forget`.

    Attributes:
        device: `cuda:0`.
        operations: Name of each operation that started a kernel, and how often.
        syncs: Name of each operation that the CPU waited for, and how often.
        copies: How often a tensor was copied onto it from memory that is not pinned, or by a copy that waits.
        streams: Its streams, and the mistakes that were made with them.
    """

    device = CUDA

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()
        self.copies = 0
        self.streams = Streams()
        self.is_initialized = False
        self._pinned: dict[int, torch.Tensor] = {}
        self.autocast_dtype: torch.dtype | None = None
        self.autocast_cache: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def forget(self) -> None:
        """Begin to count from zero."""
        self.operations, self.syncs, self.copies = Counter(), Counter(), 0

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        """Declare the memory of a CPU tensor pinned; returns the tensor."""
        self._pinned[tensor.untyped_storage().data_ptr()] = tensor  # held, so that the address stays its own
        return tensor

    def is_pinned(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._pinned

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        """Do nothing, but not before CUDA is initialised."""
        if not self.is_initialized:
            raise RuntimeError("Invalid device argument 0: did you call init?")

    @contextlib.contextmanager
    def modes(self) -> Iterator[None]:
        """What a thread has to be in to use it."""
        with _Dispatch(self), _Functions(self):
            yield


class _Functions(TorchFunctionMode):
    """Calls of torch's Python functions: devices, pinned memory, autocast."""

    def __init__(self, gpu: PretendedGPU) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        kwargs = {key: _to_meta(value) for key, value in (kwargs or {}).items()}
        args = tuple(_to_meta(value) for value in args)
        if func is torch.Tensor.backward:  # a Python function: what its graph calls shall be seen too
            with self:
                return torch.autograd.backward(args[0], kwargs.pop("gradient", args[1] if args[1:] else None), **kwargs)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], PretendedTensor):
            args = (args[0], _without_lists(args[1]), *args[2:])
        if func is torch.Tensor.cuda:
            return args[0].to(META, **kwargs)
        if func is torch.Tensor.pin_memory:
            if isinstance(args[0], PretendedTensor):
                raise RuntimeError("cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be pinned")
            return self._gpu.pin(args[0].clone())
        if func is torch.Tensor.is_pinned:
            return self._gpu.is_pinned(args[0])
        if func is torch.Tensor.numpy and isinstance(args[0], PretendedTensor):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
        if func is torch.Tensor.tolist and isinstance(args[0], PretendedTensor):
            return args[0].detach().to(CPU).tolist()
        if func is torch.Tensor.new_tensor and isinstance(args[0], PretendedTensor):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(META)
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == META:
            return func(*args, **{**kwargs, "device": CPU}).to(META)
        if isinstance(generator := kwargs.get("generator"), torch.Generator):
            on_gpu = kwargs.get("device") == META or any(isinstance(value, PretendedTensor) for value in args)
            if on_gpu != (generator.device == CUDA):
                expected = "cuda" if on_gpu else "cpu"
                raise RuntimeError(f"Expected a {expected!r} device type for generator but found '{generator.device}'")
        pins = kwargs.pop("pin_memory", False)
        if self._gpu.autocast_dtype is not None and func in _LOWERED:
            args = tuple(self._lower(value) for value in args)
            kwargs = {key: self._lower(value) for key, value in kwargs.items()}
        elif self._gpu.autocast_dtype is not None and func in _RAISED:
            args = tuple(_raise(value) for value in args)
        result = func(*args, **kwargs)
        return self._gpu.pin(result) if pins else result

    def _lower(self, value: Any) -> Any:
        """Return a float32 tensor in autocast's dtype; of a parameter, that of its first use."""
        if not (isinstance(value, PretendedTensor) and value.dtype in (torch.float32, torch.float16, torch.bfloat16)):
            return value
        if value.dtype == self._gpu.autocast_dtype:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(self._gpu.autocast_dtype)
        if id(value) not in self._gpu.autocast_cache:
            self._gpu.autocast_cache[id(value)] = value, value.to(self._gpu.autocast_dtype)
        return self._gpu.autocast_cache[id(value)][1]


def _without_lists(index: Any) -> Any:
    """Return an index with tensors in place of lists of numbers, of which torch would make tensors without values."""
    if isinstance(index, tuple):
        return tuple(_without_lists(part) for part in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _raise(value: Any) -> Any:
    is_half = isinstance(value, PretendedTensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if is_half else value


def _to_meta(value: Any) -> Any:
    is_cuda = (
        value.type == "cuda" if isinstance(value, torch.device) else isinstance(value, str) and value.startswith("cuda")
    )
    return META if is_cuda else value


class _Dispatch(TorchDispatchMode):
    """Operations, as they would reach a device."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, for seconds, at the first operation

    def __init__(self, gpu: PretendedGPU) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        used = [
            tensor for tensor in _tensors((args, tuple((kwargs or {}).values()))) if type(tensor) is PretendedTensor
        ]
        if not func.is_view:
            self._gpu.streams.operate(func.overloadpacket.__name__, [tensor.memory for tensor in used])
        result = self._run(func, args, dict(kwargs or {}))
        if func._schema.is_mutable:
            for tensor in used:
                tensor.memory.wrote()
        for tensor in _tensors((result,)):
            if type(tensor) is PretendedTensor and not hasattr(tensor, "memory"):
                tensor.memory = used[0].memory if func.is_view and used else Memory(self._gpu.streams)
        return result

    def _run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        tensors = _tensors((args, tuple(kwargs.values())))
        is_pretended = [isinstance(tensor, PretendedTensor) for tensor in tensors]
        target = kwargs.get("device")
        if func is aten._to_copy.default and target is not None:
            return self._copy_between(args[0], kwargs)
        if func is aten.copy_.default and len(set(is_pretended)) == 2:
            return self._copy_into(*args, **kwargs)
        if not any(is_pretended) and target != META:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        self._check_devices(func, name, args, tensors)
        if not func.is_view and name not in _STARTS_NO_KERNEL:
            self._gpu.operations[name] += 1
        if waits := _count_waits(func, name, args, kwargs):
            self._gpu.syncs[name] += waits
        if target is not None:
            kwargs["device"] = CPU
        result = func(*_inside(args), **{key: _inside(value) for key, value in kwargs.items()})
        return return_and_correct_aliasing(func, args, kwargs, _pretended(result))

    def _copy_between(self, source: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
        from_gpu, to_gpu = isinstance(source, PretendedTensor), kwargs["device"] == META
        non_blocking = kwargs.get("non_blocking", False)
        if from_gpu or to_gpu:
            self._gpu.operations["_to_copy"] += 1
        if to_gpu and not from_gpu and not (non_blocking and self._gpu.is_pinned(source)):
            self._gpu.copies += 1
        if from_gpu and not to_gpu and not non_blocking:
            self._gpu.syncs["_to_copy"] += 1
        result: torch.Tensor = aten._to_copy.default(_inside(source), **{**kwargs, "device": CPU})
        if to_gpu:
            return PretendedTensor(result)
        return self._gpu.pin(result) if from_gpu and non_blocking else result

    def _copy_into(self, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        self._gpu.operations["copy_"] += 1
        to_gpu = isinstance(target, PretendedTensor)
        if not (non_blocking and self._gpu.is_pinned(source if to_gpu else target)):
            if to_gpu:
                self._gpu.copies += 1
            else:
                self._gpu.syncs["copy_"] += 1
        _inside(target).copy_(_inside(source))
        return target

    def _check_devices(self, func: Any, name: str, args: Any, tensors: list[torch.Tensor]) -> None:
        on_cpu = [tensor for tensor in tensors if not isinstance(tensor, PretendedTensor)]
        if name in _INDEXING:
            indices = [index for index in args[1] if index is not None and not isinstance(index, PretendedTensor)]
            values = [value for value in args[2:3] if isinstance(value, torch.Tensor) and value.ndim == 0]
            moved = [tensor for tensor in on_cpu if any(tensor is other for other in indices + values)]
            self._gpu.copies += len(moved)  # CUDA's kernel copies them itself
            on_cpu = [tensor for tensor in on_cpu if not any(tensor is other for other in moved)]
        takes_scalars = torch.Tag.pointwise in func.tags or name.startswith(("_foreach", "masked_fill"))
        if any(tensor.ndim > 0 or not takes_scalars for tensor in on_cpu):
            raise RuntimeError(
                f"{name}: Expected all tensors to be on the same device, but found two devices, cuda:0 and cpu!"
            )


def _count_waits(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> int:
    """Return how often the CPU waits for the GPU in an operation."""
    if name in _INDEXING:
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        is_fill = name != "index" and len(args) > 2 and args[2].numel() == 1 and len(args[1]) == 1
        return 0 if is_fill else len(masks)  # a mask becomes indices by `nonzero`, or one number is filled in
    if name == "repeat_interleave":
        return int(kwargs.get("output_size") is None)
    if name.startswith("masked_fill"):
        return int(isinstance(args[2], PretendedTensor))  # by `value.item()`
    if name == "histc":
        return 2 * (args[2:4] in ((), (0, 0)))
    return _WAITS.get(name, 0)


def _tensors(values: Any) -> list[torch.Tensor]:
    """Return the tensors among nested tuples and lists."""
    if isinstance(values, torch.Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)] if isinstance(values, tuple | list) else []


def _inside(values: Any) -> Any:
    if isinstance(values, PretendedTensor):
        return values.inside
    return type(values)(map(_inside, values)) if isinstance(values, tuple | list) else values


def _pretended(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return PretendedTensor(values)
    return type(values)(map(_pretended, values)) if isinstance(values, tuple | list) else values


class _Generator(torch.Generator):
    """A CPU generator that says where it was made for."""

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        generator: _Generator = super().__new__(cls, "cpu")
        generator.pretended = torch.device(device)
        return generator

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__()

    @property
    def device(self) -> torch.device:
        return CUDA if self.pretended.type == "cuda" else CPU


class _Threads(ThreadPoolExecutor):
    """Threads that know the pretended GPU."""

    gpu: PretendedGPU

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def run() -> Any:
            with self.gpu.modes():
                return fn(*args, **kwargs)

        return super().submit(run)


def _make_autocast(gpu: PretendedGPU) -> Callable[..., Any]:
    real = torch.autocast

    @contextlib.contextmanager
    def pretended(dtype: torch.dtype | None, enabled: bool) -> Iterator[None]:
        before = gpu.autocast_dtype
        gpu.autocast_dtype = (dtype or torch.float16) if enabled else None
        try:
            yield
        finally:
            gpu.autocast_dtype = before
            if before is None:
                gpu.autocast_cache.clear()

    def autocast(device_type: str, dtype: torch.dtype | None = None, enabled: bool = True) -> Any:
        return pretended(dtype, enabled) if device_type == "cuda" else real(device_type, dtype, enabled)

    return autocast


@contextlib.contextmanager
def pretended_gpu() -> Iterator[PretendedGPU]:
    """Have a GPU within it: for the calls of `torch.cuda` and the threads of `prefetch` too."""
    gpu = PretendedGPU()
    group = torch._C._group_tensors_by_device_and_dtype

    def group_with_cuda(*args: Any) -> dict[Any, Any]:
        return {(CUDA if key[0] == META else key[0], *key[1:]): value for key, value in group(*args).items()}

    random_state = [torch.zeros(16, dtype=torch.uint8)]
    calls: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "Stream": lambda device=None: Stream(),
        "current_device": lambda: 0,
        "current_stream": lambda device=None: gpu.streams.current(),
        "stream": gpu.streams.use,
        "device": lambda device: contextlib.nullcontext(),
        "device_count": lambda: 1,
        "empty_cache": lambda: None,
        "init": lambda: setattr(gpu, "is_initialized", True),
        "get_device_name": lambda device=None: "pretended GPU",
        "get_rng_state": lambda device=None: random_state[0].clone(),
        "is_available": lambda: True,
        "is_bf16_supported": lambda: True,
        "manual_seed": lambda seed: None,
        "max_memory_allocated": lambda device=None: 2**30,
        "mem_get_info": lambda device=None: (2**30, 2**31),
        "memory_allocated": lambda device=None: 0,
        "memory_reserved": lambda device=None: 0,
        "reset_peak_memory_stats": gpu.reset_peak_memory_stats,
        "set_rng_state": lambda state, device=None: random_state.__setitem__(0, state.clone()),
        "synchronize": lambda device=None: gpu.syncs.update(["synchronize"]),
    }
    with contextlib.ExitStack() as stack:
        for name, call in calls.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, call))
        stream = mock.Mock(**{"return_value.is_capturing.return_value": False})
        stack.enter_context(mock.patch.object(torch.accelerator, "current_stream", stream))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(mock.patch.object(torch, "autocast", _make_autocast(gpu)))
        stack.enter_context(mock.patch.object(torch._C, "_group_tensors_by_device_and_dtype", group_with_cuda))
        for name in ("torch.optim.optimizer", "torch.utils._foreach_utils"):  # they ask for torch's own types by name
            module = importlib.import_module(name)
            types = [*module._foreach_supported_types, PretendedTensor]
            stack.enter_context(mock.patch.object(module, "_foreach_supported_types", types))
        threads = type("_ThreadsOfThis", (_Threads,), {"gpu": gpu})
        stack.enter_context(mock.patch("mdr_tune.data.prefetch.ThreadPoolExecutor", threads))
        overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrites)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # as for any tensor of another kind
        stack.enter_context(gpu.modes())
        yield gpu
