"""A torch module behind one call, run by torch or by OpenVINO: detectors and members share it."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from common import graphs
from common.cores import cores
from common.device import Device

# Not imported here: where OpenVINO has a compiled network at hand, nothing of torch is needed.
if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["f32", "bf16", "f16"]
Engine = Literal["torch", "openvino"]
# A Runner: (N, S, S, 3) uint8 images in, the module's outputs as float32 arrays out, first axis N.
Network = TypeVar("Network", bound="nn.Module")
Runner = Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]
# The same in two parts: the images are sent to the device, and the call that comes back waits for the outputs.
Pending = Callable[[], list[NDArray[np.float32]]]
Sender = Callable[[NDArray[np.uint8]], Pending]


@dataclass(frozen=True)
class Recipe:
    """A network that is built only where no compiled one is kept."""

    build: Callable[[], nn.Module]
    parts: tuple[object, ...]  # all that decides it: the hash of its weights, of its code (graphs.code_of), its shape


def pick_engine(device: Device | torch.device) -> Engine:
    """Pick OpenVINO on the CPU where it is installed (5 to 6 times torch's speed there), torch everywhere else."""
    return "openvino" if device.type == "cpu" and importlib.util.find_spec("openvino") else "torch"


# Ampere, compute capability 8.0: the first GPUs that multiply in bf16. Older ones emulate it, several times slower, and
# torch.cuda.is_bf16_supported() counts that as support.
BF16_FROM = (8, 0)


def half_precision(device: Device | torch.device) -> Precision:
    """Return the 16-bit precision that a CUDA device trains in: "bf16" from BF16_FROM on, "f16" below.

    Training needs bf16's range. Predicting needs f16's accuracy, whatever the device: `models.backend.ON_CUDA`.
    """
    import torch

    return "bf16" if torch.cuda.get_device_capability(str(device)) >= BF16_FROM else "f16"


def make_runner(
    module: nn.Module | Recipe,
    size: int,
    device: Device | torch.device,
    precision: Precision = "f32",
    engine: Engine | None = None,
    threads: int = 0,
    batch: int = 0,
) -> Runner:
    """Compile a network for a device.

    Args:
        module: takes (N, S, S, 3) uint8 and gives one output or a tuple of them, first axis N; or how it is built,
            and then what OpenVINO compiles is kept for the next time.
        size: side of the square input in pixels.
        device: where it runs.
        precision: of the arithmetic.
        engine: None: OpenVINO on the CPU where it is installed, else torch.
        threads: for OpenVINO, each of which takes a batch of its own; 0 is one per core.
        batch: images at a time. 0 is 8 on the CPU, where larger pieces leave the caches and cost up to twice as much
            per image, and 64 elsewhere.

    Returns:
        A function of any number of images.

    Raises:
        ValueError: OpenVINO is asked for on another device than the CPU.
    """
    engine = engine or pick_engine(device)
    piece = batch or (8 if device.type == "cpu" else 64)
    if engine == "torch":
        return in_pieces(_torch_sender(_built(module), device, precision), piece)
    if device.type != "cpu":
        raise ValueError(f"OpenVINO runs on the cpu here, not on {device}")
    streams = threads or cores()
    return in_pieces(_openvino_sender(module, size, precision, streams), piece, streams, share=True)


def in_pieces(send: Sender, piece: int, in_flight: int = 2, share: bool = False) -> Runner:
    """Make a function of any number of images of one that takes a few.

    When the device's memory does not hold a piece, half as many images are tried, from then on.

    Args:
        send: starts the work on a piece and returns what waits for it.
        piece: the most images at a time.
        in_flight: pieces that are sent before the first of them is waited for.
        share: make smaller pieces where all would not be at work with whole ones (`shared_piece`).

    Raises:
        torch.OutOfMemoryError: by the function returned, where a single image does not fit.
    """

    def call(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        nonlocal piece
        if not len(images):
            raise ValueError("no images to run the network on")
        pieces: list[list[NDArray[np.float32]]] = []
        sent: deque[Pending] = deque()
        start = 0
        size = shared_piece(len(images), piece, in_flight) if share else piece
        while start < len(images):
            try:
                answer = send(images[start : start + size])
            except RuntimeError as error:
                import torch

                if size == 1 or not isinstance(error, torch.cuda.OutOfMemoryError):
                    raise
                piece = size = max(1, size // 2)
                torch.cuda.empty_cache()
                continue
            start += size
            sent.append(answer)
            if len(sent) == in_flight:
                pieces.append(sent.popleft()())
        pieces += [answer() for answer in sent]
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]

    return call


def shared_piece(images: int, piece: int, workers: int) -> int:
    """Return how many images make a piece so that all workers have as many pieces, and none is left to one of them.

    Args:
        images: 1 or more.
        piece: the most images of a piece.
        workers: how many pieces are worked on at a time, each by one core.
    """
    rounds = -(-images // (piece * workers))
    return -(-images // (rounds * workers))


def to_device(module: Network, device: torch.device) -> Network:
    """Move a network; its convolutions' weights in channels_last, twice as fast on the CPU and on tensor cores."""
    import torch

    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _built(module: nn.Module | Recipe) -> nn.Module:
    return module.build() if isinstance(module, Recipe) else module


def _torch_sender(module: nn.Module, where: Device | torch.device, precision: Precision) -> Sender:
    import torch

    device = torch.device(str(where))
    module = to_device(module.eval(), device)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[precision]

    pinned = device.type == "cuda"  # a copy out of pinned memory does not keep the CPU waiting

    def send(images: NDArray[np.uint8]) -> Pending:
        batch = torch.from_numpy(np.ascontiguousarray(images))
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=precision != "f32"):
            out = module((batch.pin_memory() if pinned else batch).to(device, non_blocking=pinned))
        outputs = out if isinstance(out, tuple) else (out,)
        return lambda: [o.float().cpu().numpy() for o in outputs]

    return send


def _openvino_sender(module: nn.Module | Recipe, size: int, precision: Precision, streams: int) -> Sender:
    """Each piece goes to a stream of one thread: threads that share a piece wait for each other at every layer."""
    # Without the first option OpenVINO takes bf16 by itself on CPUs that have it, and scores move.
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(streams),
    }
    compiled = _compiled(module, size, options)
    outputs = range(len(compiled.outputs))
    idle: SimpleQueue[Any] = SimpleQueue()

    def send(images: NDArray[np.uint8]) -> Pending:
        try:
            request = idle.get_nowait()
        except Empty:
            request = compiled.create_infer_request()
        request.start_async(np.ascontiguousarray(images))  # which copies them

        def answer() -> list[NDArray[np.float32]]:
            request.wait()
            found = [np.array(request.get_output_tensor(i).data, dtype=np.float32) for i in outputs]
            idle.put(request)
            return found

        return answer

    return send


@functools.cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process.

    It is never let go of. The CPU plugin of each gives the thread that loads it a stack for signals, and unmaps that
    stack when it goes; where two go in the order in which they came, the first one's is put in place again (seen with
    2026.4). The next signal, a Ctrl-C say, then ends the process with SIGSEGV, before any handler.
    """
    import openvino

    return openvino.Core()


def _compiled(module: nn.Module | Recipe, size: int, options: dict[str, str]) -> Any:
    """The compiled network, as it was kept or made anew: both give the same bits."""
    core = openvino_core()
    path = None
    if isinstance(module, Recipe):
        path = graphs.path_of([*module.parts, graphs.code_of(__file__), size, options])
        if (kept := graphs.read(path)) is not None:
            try:
                return core.import_model(kept, "CPU", options)
            except RuntimeError:  # it is of another build of OpenVINO with the same version
                pass
    compiled = core.compile_model(_converted(_built(module), size), "CPU", options)
    if path is not None:
        graphs.write(path, compiled.export_model().getvalue())
    return compiled


def _converted(module: nn.Module, size: int) -> Any:
    """The network as OpenVINO's graph, for any number of images."""
    import openvino
    import torch

    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with torch.inference_mode():
        # OpenVINO would trace it too, and run it three times more to check that it does the same each time.
        traced = torch.jit.trace(module.eval().cpu(), example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example)
    model.reshape({model.inputs[0]: [-1, size, size, 3]})
    return model


# Parameter numbers of mallopt(3) in glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks instead of returning them to the system; True where that worked.

    Every forward pass frees and asks for the same large buffers; by default each goes back to the kernel and is
    faulted in again, page by page. Call once, before the first large allocation. Memory of the process then stays at
    its peak.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl has no mallopt
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
