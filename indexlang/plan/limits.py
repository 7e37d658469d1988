"""The sizes at which decisions turn, as one value: prices and capacities of an engine, measured.

In: nothing. Out: `Limits`; `NUMPY`, `NATIVE` and `XLA`, at which plans turn; `TINY`, for tests: small programs go every
way. The one rule: a size at which a decision of the planner turns is a field here, and is passed along, never
patched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Limits:
    """Bytes where it says bytes, else elements, positions or operations."""

    block: int = 2 << 20  # bytes of a block that several passes go over: what the cache of a core holds
    copy: int = 4 << 20  # bytes of a block that is multiplied: larger, as threads meet at the end of each product
    large: int = 32 << 20  # bytes from which on a whole domain is gone through in blocks, whatever is done with it
    kept: int = 32 << 20  # bytes of copies that are kept for those who need the same ones
    window: int = 64  # so many values of the reduced indices may become a loop of whole-array operations
    sliding: int = 256  # so many, where neighbours share them: a reduction of a window view has no runs
    short: int = 8  # so many may, even where the reduced axis is one of its own: NumPy reduces short axes slowly
    tapped: int = 12  # indices among which the best ones to loop over are searched
    run: int = 64  # elements next to each other that make an inner loop of NumPy worth its start
    slim: int = 64  # elements of innermost axes below which operands are repeated along them, and sums divided
    long: int = 256  # elements that make an operation on whole arrays worth its call
    table: int = 1 << 22  # so many positions may be kept as a constant table
    rim: int = 1 << 14  # elements from which on only the rims of a longer copy are filled
    taps: int = 32  # taps from which on a table of positions may be better
    shared: int = 1 << 20  # operations on elements from which on threads pay
    usual: int = 8  # additions that a function costs which is no arithmetic
    larger: int = 4  # so many times larger than what it is made of, or becomes, an array on the way is not worth while
    reused: int = 1 << 16  # bytes from which on an array lies in memory that is kept from call to call
    room: int = 64 << 20  # bytes of it in one call, or in one thread of it
    resting: int = 128 << 20  # bytes that all calls together leave for the next ones
    counted: int = 1024  # cells beyond that up to which positions are counted, not sorted
    pointed: int = 16  # positions above which the one that data choose is written alone
    pointing: int = 1 << 14  # points of a statement from which on that is worth while
    # products
    grouped: int = 1 << 13  # elements of copied matrices for each product that would do without the copies
    tile: int = 16  # values of the smallest block that follows a mask
    advised: int = 1 << 22  # points from which on it is said why all of them are gone through
    banded: int = 1 << 19  # points of tensors of which a band may be kept alone
    tiles: int = 1 << 13  # blocks of an index, at most, that follow a mask
    call: int = 1 << 16  # multiply-adds that a call costs
    calls: int = 8  # in a tile
    pieces: int = 8  # statements into which one may be taken apart
    separate: int = 1 << 14  # elements from which on a factor that is a sum is worth taking apart
    product: int = 1 << 14  # multiply-adds below which a matrix product is not worth its call
    lost: int = 64  # a result so many times smaller than its parts has lost too many digits
    few: int = 1 << 12  # elements of a difference up to which it is computed in float64: none of them may lose digits
    exhaustive: int = 8  # factors up to which every order of pairs is tried
    element: int = 24  # multiply-adds of a product that an operation on an element outside of one costs
    columns: int = 32  # of merged groups: they make a product of matrices worth its call
    # chains
    chunk: int = 256 << 10  # bytes of one array of a block: several of them stay in the cache of a core
    least: int = 1 << 14  # elements below which a chain is not worth its lines
    sum: int = 1 << 19  # elements from which on a sum alone is a chain
    many: int = 64  # a block as large as may be has so many times the elements that it is summed to, at least
    ahead: int = 48  # so many statements further it is looked for more that may join
    narrow: int = 512  # elements that lie next to each other in a block, at least
    full: int = 8  # a block may be so many times larger where then more statements join
    unrolled: int = 25  # positions of a window that are written one by one
    operations: int = 200  # of one statement of a chain: beyond it nothing is gained
    register: int = 512  # elements below which an array of a block is made anew each time
    filled: int = 4096  # elements of an array that holds one number
    # rewrites
    worth: int = 1 << 18  # multiply-adds from which on a product is worth keeping for a second use
    deep: int = 16  # multiply-adds for each element from which on one is kept for the backward part, in the cache
    dearer: int = 15  # per cent that an order of products may cost more for the sake of one that is kept
    scaled: int = 1 << 14  # elements from which on scaling them is worth a statement
    smaller: int = 3  # so many times smaller must the factor be
    thin: int = 2  # columns of a product up to which it is a thin one
    fewest: int = 4  # taps from which on an unfolded window is worth a tensor
    unfolded: int = 32 << 20  # bytes of that tensor
    added: int = 1 << 14  # elements that a tap adds to it, at least
    nested: int = 18  # loops inside of each other: Python allows 20 blocks
    wasted: int = 4  # times the points that masks admit, which nests go through rather than in tiles
    heavy: int = (
        256 << 20
    )  # bytes of an array on the way that nests make rather than go through blocks, if nothing masks
    nests: bool = False  # whether whole domains are computed as loop nests: no blocks, no copies, no tables of masks
    indices: int = 48  # of one statement; NumPy's arrays have at most 64 axes, and einsum 52 letters


# What nests compute: the types of whole domains that no array on the way holds.
NESTED = frozenset(("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool"))
NEVER = 1 << 62  # a size that nothing reaches
NUMPY = Limits()
# No chains of blocks, no windows as tensors; groups fill a vector, and no more of them are multiplied in vain.
NATIVE = replace(NUMPY, nests=True, least=NEVER, sum=NEVER, fewest=NEVER, columns=16)
XLA = NUMPY  # what decides about JAX's operations is not measured yet

# Every threshold is passed by a few elements: for tests.
TINY = Limits(
    block=64, copy=64, large=256, kept=256, window=64, short=4, run=2, long=4, table=1 << 22, rim=8, taps=4, shared=64,
    separate=8, product=8, columns=4, chunk=64, least=8, sum=16, many=2, narrow=2, full=2, register=4, filled=16,
    worth=16, scaled=8, smaller=2, fewest=2, unfolded=1 << 12, added=4,
    larger=1, counted=1, pointed=4, pointing=8, grouped=4, reused=32, slim=16, sliding=64, tile=1, call=1, calls=1,
    banded=16, heavy=256,
)  # fmt: skip
