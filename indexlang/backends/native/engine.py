"""LLVM in the process: what the host is, and IR made into code that can be called.

In: the text of a module, the names of its functions. Out: their addresses. Errors: `RuntimeError` of LLVM where the
text is no module. The one rule: the same text becomes the same code, whether it is made now or was kept (`objects`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ...locks import Lock
from . import objects
from .nest import Nest
from .target import Target

_OLDEST = 19  # LLVM that reads the constants that are written
_LEVEL = 1  # of the code generator; no passes: as fast as with more, in a third of the time
_lock = Lock()
_next = count(1).__next__


@cache
def available() -> bool:
    """Whether LLVM is there, and the process may run the code that it makes."""
    try:
        from llvmlite import binding
    except (ImportError, OSError):
        return False
    if binding.llvm_version_info[0] < _OLDEST:
        return False
    try:
        with _lock.held():
            linked([assembled("define void @nothing() { ret void }", host())], ["nothing"])
    except (OSError, RuntimeError):  # no code for this kind of machine, or no memory that code may lie in
        return False
    return True


@cache
def _binding() -> Any:
    """LLVM, made ready."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@cache
def host() -> Target:
    """The machine that this process runs on."""
    with _lock.held():
        llvm = _binding()
        triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
        try:
            features = dict(llvm.get_host_cpu_features())
        except RuntimeError:  # LLVM cannot say it of every kind of machine; the name of the cpu implies them
            features = {}
    flags = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))
    vector, registers, fused = _vectors(triple, features)
    plain = Target(triple, cpu, flags, vector, registers, fused)
    sizes = _caches(Path("/sys/devices/system/cpu/cpu0/cache"))
    return replace(plain, l1=sizes.get(1, plain.l1), l2=sizes.get(2, plain.l2))


def _vectors(triple: str, features: Mapping[str, bool]) -> tuple[int, int, bool]:
    """Bytes of a vector register, how many of them there are, and whether a multiply-add is one instruction."""
    machine = triple.partition("-")[0]
    if machine in ("aarch64", "arm64"):
        return 16, 32, True
    fused = features.get("fma", False) and features.get("f16c", False)
    if all(features.get(f"avx512{part}", False) for part in ("f", "bw", "dq", "vl")):
        return 64, 32, fused
    return 32 if features.get("avx2", False) else 16, 16, fused


def _caches(folder: Path) -> dict[int, int]:
    """The sizes of the caches of data by level, as far as the system says them."""
    found = {}
    for entry in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((entry / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and level in ("1", "2") and size.endswith("K") and size[:-1].isdecimal():
            found[int(level)] = int(size[:-1]) << 10
    return found


class Library:
    """Functions that can be called as long as this is alive."""

    def __init__(self, tracker: Any, names: Sequence[str]) -> None:
        self._tracker = tracker  # the code goes when LLVM's own value of it goes
        self._addresses = {name: int(tracker[name]) for name in names}

    def address(self, name: str) -> int:
        """Where a function is."""
        return self._addresses[name]


def compiled(text: str, names: Sequence[str], target: Target) -> Library:
    """The functions of a module."""
    with _lock.held():
        key = objects.key(text, target, version())
        code = objects.load(key)
        if code is not None:
            try:
                return linked([code], names)
            except RuntimeError:  # it was kept whole, but something else under its name
                objects.remove(key)
        code = assembled(text, target)
        objects.keep(key, code)
        return linked([code], names)


def assembled(text: str, target: Target) -> bytes:
    """The object code of a module."""
    with _lock.held():
        llvm = _binding()
        machine = _machine(target.triple, target.cpu, target.features)
        with llvm.parse_assembly(text) as made:
            made.verify()
            return bytes(machine.emit_object(made))


@cache
def version() -> str:
    """Which llvmlite this is, which LLVM it has, and how that makes code."""
    import llvmlite

    return f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, _binding().llvm_version_info))}, level {_LEVEL}"


@cache
def _machine(triple: str, cpu: str, features: str) -> Any:
    """What makes code. Constants lie near to the code, so that they are reached by one instruction."""
    found = _binding().Target.from_triple(triple)
    return found.create_target_machine(cpu=cpu, features=features, opt=_LEVEL, reloc="pic", codemodel="small", jit=True)


@cache
def _linker() -> Any:
    llvm = _binding()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    # By JITLink: it lays code and constants side by side. The older linker takes memory for each, wherever there is
    # room: in a process with some GB of arrays they may be too far apart for the code, and it ends the process.
    return llvm.create_lljit_compiler(machine, use_jit_link=True)


def linked(codes: Sequence[bytes], names: Sequence[str]) -> Library:
    """Object code put into the process, with the functions of these names. Errors: `RuntimeError` where one is not
    there.
    """
    with _lock.held():
        builder = _binding().JITLibraryBuilder().add_current_process()
        for code in codes:
            builder.add_object_img(code)
        for name in names:
            builder.export_symbol(name)
        return Library(builder.link(_linker(), f"native{_next()}"), names)


def call(library: Library, nest: Nest, arrays: Mapping[str, np.ndarray[Any, Any]], items: Sequence[int] = ()) -> None:
    """Run a Nest's items one after the other, all where none are named. Workspaces are made where they are missing."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address(nest.name))
    held = []
    for array in nest.arrays:
        given = arrays.get(array.name)
        if given is None and array.role == "workspace":
            given = np.empty(array.size, array.dtype)
        if given is None or given.dtype != array.dtype or given.size != array.size or not given.flags.c_contiguous:
            raise ValueError(f"{nest.name}: {array.name} has to be {array.dtype}[{array.size}], in order")
        held.append(given)
    words = [*(a.ctypes.data for a in held), *map(int, nest.numbers)]
    table = (ctypes.c_int64 * max(1, len(words)))(*words)
    for item in items or range(nest.count):
        function(ctypes.addressof(table), item)
