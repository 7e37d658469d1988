"""The source of the small NumPy functions that generated code calls, which are not functions of the language.

In: nothing. Out: `ARRAYS`, from a function's name to its Python source, `THREADS` and `ROOMS`, what
they need to share work, and memory.
The one rule: each entry is stand-alone text that needs `np`, and entries that it calls by name.
"""

from __future__ import annotations

VIEW = '''\
def view(array, offset, shape, strides):
    """A strided view of a contiguous array; offset and strides in elements."""
    item = array.itemsize
    return np.ndarray(shape, array.dtype, array, offset * item, [s * item for s in strides])
'''

LAID = '''\
def laid(array, kind):
    """The array if an engine can go through it, else a copy: contiguous, aligned, in the machine's byte order."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array
    return np.array(array, kind, order="C").reshape(array.shape)
'''

CHECK = '''\
def check(index, size, place, admitted=True):
    """Refuse positions outside 0..size-1 among those that are used."""
    if np.size(index) and (np.min(index) < 0 or np.max(index) >= size):
        bad = np.logical_and((index < 0) | (index >= size), admitted)
        if np.any(bad):
            raise IndexError("index out of range", place, int(np.broadcast_to(index, bad.shape)[bad][0]), size)
'''

GROUP = '''\
def group(cells):
    """Sort flat cell numbers once: the order, where each cell's run starts, and the cells."""
    if cells.size and cells.max() < 65536:
        cells = cells.astype(np.uint16)  # sorted by their digits
    order = np.argsort(cells, kind="stable")
    ordered = cells[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, starts, ordered[starts].astype(np.int64)
'''

JOIN = '''\
def join(ufunc, values, cells, axis=0, rows=None):
    """Bring what belongs to the same cell together: a value for each cell, and the cells, those of most values first.

    With `rows`, each cell says by number which value is its own: several cells may have the same one.
    """
    order, starts, cells = group(cells)
    lengths = np.diff(np.append(starts, order.size))
    left = (33 - np.minimum(lengths, 33)).astype(np.uint8)  # sorted by their digits
    most = np.argsort(left, kind="stable")
    order = order if rows is None else rows[order]
    starts, cells, ends = starts[most], cells[most], np.cumsum(np.bincount(left, minlength=33))
    before, many = (slice(None),) * axis, ends[0]
    found = values.take(order[starts], axis)
    for rank in range(1, 32):  # what comes second everywhere, then what comes third
        end = ends[32 - rank]
        if end == many:
            break
        place = (*before, slice(many, end))
        ufunc(found[place], values.take(order[starts[many:end] + rank], axis), out=found[place])
    for k in range(many):  # much in one cell: pair by pair
        n = lengths[most[k]]
        rows = values.take(order[starts[k] : starts[k] + n], axis)
        while n > 1:
            first = rows[(*before, slice(n // 2))]
            ufunc(first, rows[(*before, slice(n - n // 2, n))], out=first)
            n -= n // 2
        found[(*before, k)] = rows[(*before, 0)]
    return found, cells
'''

LABELS = '''\
def labels(values):
    """A number for each element, by its value among those along the last axis: less than this is long."""
    n = values.shape[-1]
    if values.size and values.dtype.kind in "iub":
        lo = values.min()
        span = int(values.max()) - int(lo) + 1
        if span <= 4 * n + 1024:  # by counting
            numbers = values.astype(np.int64)
            numbers -= lo.astype(np.int64)
            if span <= n:
                return numbers
            there = np.zeros(span, bool)
            there[numbers] = True
            if np.count_nonzero(there) <= n:
                return (np.cumsum(there) - 1).take(numbers)
    at = (*np.indices(values.shape, sparse=True)[:-1], np.argsort(values, -1))
    ordered = values[at]
    numbers, found = np.zeros(values.shape, np.int64), np.empty(values.shape, np.int64)
    np.cumsum(ordered[..., 1:] != ordered[..., :-1], -1, out=numbers[..., 1:])
    found[at] = numbers
    return found
'''

TAKEN = '''\
def taken(x, *at):
    """The elements at positions along the first axes: numbered in one, where they lie one behind the other."""
    if not x.flags.c_contiguous:
        return x[at]
    cells = at[0]
    for size, more in zip(x.shape[1:], at[1:]):
        cells = cells * size + more
    return x.reshape(-1, *x.shape[len(at) :]).take(cells, 0)
'''

WINNERS = '''\
def winners(ufunc, values, axis):
    """The first position of the best along an axis, for the rows behind it at once."""
    n, best = values.shape[axis], ufunc.reduce(values, axis, keepdims=True)
    hits = values == best
    if np.any(best != best):  # the first nan wins against all
        hits |= values != values
    left = np.arange(n, 0, -1, np.uint8 if n < 256 else np.uint16 if n < 65536 else np.int64)
    numbers = hits.view(np.uint8) * left[(slice(None),) + (None,) * (values.ndim - axis - 1)]
    return n - np.maximum.reduce(numbers, axis).astype(np.int64)
'''

BY_MATRIX = '''\
def by_matrix(matrices, vectors, order, starts, hit):
    """Vectors times the matrix of their group: a product for each group."""
    vectors = vectors.take(order, 0)
    made = np.empty((*vectors.shape[:2], matrices.shape[1]), matrices.dtype)
    for k, begin, end in zip(hit, starts, [*starts[1:], order.size]):
        rows = vectors[begin:end].reshape(-1, vectors.shape[2])
        np.matmul(rows, matrices[k].T, out=made[begin:end].reshape(-1, made.shape[2]))
    result = np.empty_like(made)
    result[order] = made
    return result
'''

OF_GROUPS = '''\
def of_groups(home, left, right, order, starts, hit):
    """What is summed over each group's products of left and right vectors, added to the group's place."""
    left, right = left.take(order, 0), right.take(order, 0)
    for k, begin, end in zip(hit, starts, [*starts[1:], order.size]):
        first, second = (x[begin:end].reshape(-1, x.shape[2]) for x in (left, right))
        home[k] += (first.T @ second).reshape(home.shape[1:])
'''

CHOSEN = '''\
def chosen(values, where):
    """The rows at which a condition holds; as they lie where it holds at all of them."""
    return values if where.all() else values[where]
'''

RUNNING = '''\
def running(ufunc, values, axis, backwards=False):
    """What a ufunc makes of each value and all before it along an axis; or all behind it."""
    result = np.empty(values.shape, values.dtype)
    turn = (slice(None),) * axis + (slice(None, None, -1 if backwards else 1),)
    behind = result.strides[axis] // result.itemsize
    if behind < 32:
        ufunc.accumulate(values[turn], axis, out=result[turn])
        return result
    made, given = np.moveaxis(result[turn], axis, 0), np.moveaxis(values[turn], axis, 0)
    made[0] = given[0]
    for k in range(1, len(made)):  # rows at a time: along outer axes accumulate goes from row to row for each column
        ufunc(made[k - 1], given[k], out=made[k])
    return result
'''

LEADING = '''\
def leading(ufunc, values, axis, backwards=False):
    """Where along an axis the best of each value and all before it stands first; or of all behind it."""
    before = (slice(None),) * axis
    most, last = running(ufunc, values, axis, backwards), values.shape[axis] - 1
    here, other = (slice(0, last), slice(1, None)) if backwards else (slice(1, None), slice(0, last))
    x, best = values[(*before, here)], most[(*before, other)]
    names = ("greater", "greater_equal") if ufunc is np.maximum else ("less", "less_equal")
    wins = getattr(np, names[backwards])(x, best)
    end = most[(*before, 0 if backwards else last)]
    if np.any(end != end):  # the first nan wins against all
        wins |= (x != x) if backwards else (x != x) & (best == best)
    if most.strides[axis] == most.itemsize and wins.size:  # each winner stands until the next one
        won = np.ones(values.shape, bool)
        won[(*before, here)] = wins
        at = np.flatnonzero(won)
        counts = np.diff(at, prepend=-1) if backwards else np.diff(at, append=won.size)
        return np.repeat(at % (last + 1) if won.ndim > 1 else at, counts).reshape(values.shape)
    places = np.arange(last + 1)[(slice(None),) + (None,) * (values.ndim - axis - 1)]
    at = np.full(values.shape, last if backwards else 0)
    np.copyto(at[(*before, here)], places[here], where=wins)
    return running(np.minimum if backwards else np.maximum, at, axis, backwards)
'''

RANGED = '''\
def ranged(beats, values, axis, begin, end, places=False):
    """The best of the values from begin to end along an axis, or where it stands first, for each pair of ends.

    Of all ranges of 1, 2, 4, ... values the best is found from two of half the length; any range is two of these.
    """
    best = np.moveaxis(values, axis, 0)
    at = np.broadcast_to(np.arange(len(best)).reshape(-1, *(1,) * (best.ndim - 1)), best.shape) if places else best
    long, most = end - begin + 1, max(1, np.max(end - begin + 1, initial=1))
    found, step = np.zeros((*long.shape, *best.shape[1:]), at.dtype), 1
    while True:
        here = (long >= step) & (long < 2 * step)
        first, last = begin[here], end[here] - step + 1
        if first.size:
            x, y = best[first], best[last]
            found[here] = np.where(beats(y, x) | ((y != y) & (x == x)), at[last], at[first])
        if 2 * step > most:
            return found
        x, y = best[:-step], best[step:]
        wins = beats(y, x) | ((y != y) & (x == x))
        at, best = np.where(wins, at[step:], at[:-step]), np.where(wins, y, x)
        step *= 2
'''

FADING = '''\
def fading(values, fades, axis, backwards=False):
    """Along an axis, each value and what has come before it, times the fade that stands there; or what is behind it."""
    turn = (slice(None),) * axis + (slice(None, None, -1 if backwards else 1),)
    given, fade = (np.moveaxis(x[turn], axis, 0) for x in (values, fades))
    result = np.empty(values.shape, values.dtype)
    made = np.moveaxis(result[turn], axis, 0)
    if made[0].size < 16:  # element by element: Python's numbers take less time than calls
        for at in np.ndindex(made.shape[1:]):
            row = (slice(None), *at)
            last, kept = 0.0, []
            for value, by in zip(given[row].tolist(), [0.0, *fade[row].tolist()]):
                last = value + by * last if kept else value
                kept.append(last)
            made[row] = kept
        return result
    made[0], step = given[0], np.empty(made.shape[1:], made.dtype)
    for k in range(1, len(made)):
        np.multiply(fade[k - 1], made[k - 1], out=step)
        np.add(given[k], step, out=made[k])
    return result
'''

FITTING = '''\
def fitting(name, array, shape, kind):
    """An input as an array; an error where the code was made for another shape or type."""
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array, and its mask would be lost")
    found = np.asarray(array)
    if found.shape != shape or found.dtype != kind:
        made = f"this code was made for {name} of type {kind} and shape {shape}"
        raise ValueError(f"{made}, not {found.dtype} and {found.shape}: emit it anew")
    return found
'''

LOCKED = '''\
def locked(array):
    """A view that cannot be written to, of what is read again."""
    array = np.asarray(array).view()
    array.flags.writeable = False
    return array
'''

FINITE = '''\
def finite(*arrays):
    """Whether all elements are finite, by their sums; a sum that overflows says no, too."""
    return all(np.isfinite(np.add.reduce(a, None)) for a in arrays)
'''

KEEP = '''\
def keep(mask, values, out):
    """The values where the mask holds, else 0, into `out`: by bits, for a branch at each element takes far longer."""
    word = f"i{out.itemsize}"
    bits = np.negative(mask.view(np.int8)).astype(word)
    np.bitwise_and(np.asarray(values, out.dtype).view(word), bits, out=out.view(word))
'''

CHOOSE = '''\
def choose(mask, values, others, out):
    """The values where the mask holds, else the others, into `out`, by bits."""
    word = f"i{out.itemsize}"
    bits = np.negative(mask.view(np.int8)).astype(word)
    first, second = (np.asarray(v, out.dtype).view(word) for v in (values, others))
    np.bitwise_xor((first ^ second) & bits, second, out=out.view(word))
'''

SHARE = '''\
def share(part, n, step):
    """part(lo, hi) for ranges that make up 0..n-1, side by side where there are processors; the results in order."""
    blocks = -(-n // step)
    count = min(workers(), blocks)
    ends = [min(n, step * (blocks * k // count)) for k in range(count + 1)]
    left, found = list(range(count)), [None] * count

    def work():
        while left:
            try:
                k = left.pop()
            except IndexError:  # somebody else has just taken the last one
                return
            found[k] = part(ends[k], ends[k + 1])

    others = []
    try:
        others.extend(POOL.submit(work) for k in range(count - 1))
    except RuntimeError:  # at the end of the process there are no threads any more
        pass
    work()
    for other in others:
        if not other.cancel():
            other.result()
    return found
'''

THREADS = """\
if "POOL" not in globals():  # programs that are loaded together have one in common
    import os
    from concurrent.futures import ThreadPoolExecutor

    said = map(os.environ.get, ("INDEXLANG_NUM_THREADS", "INDEXLANG_THREADS", "OMP_NUM_THREADS"))
    said = next(filter(None, said), "").split(",")[0]
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


    def workers():
        return int(said) if said.isascii() and said.isdigit() and int(said) else there


    def start():
        global POOL
        POOL = ThreadPoolExecutor(workers())

    start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=start)
"""

ROOMS = """\
if "ROOMS" not in globals():  # programs that are loaded together have them in common


    class Rooms(list):
        \"""Memory that calls leave for the next ones; clear() lets it go.\"""

        def take(self, size):
            try:
                room = self.pop()
            except IndexError:
                room = ()
            return room if len(room) >= size else np.empty(size, np.uint8)

        def give(self, room):
            self.append(room)
            del self[:-4]

    ROOMS = Rooms()
    np.empty((32 << 20) - (64 << 10), np.uint8)  # let go at once: the C library then keeps what is as large for arrays
"""

ARRAYS = {
    "running": RUNNING,
    "leading": LEADING,
    "ranged": RANGED,
    "fading": FADING,
    "winners": WINNERS,
    "by_matrix": BY_MATRIX,
    "of_groups": OF_GROUPS,
    "taken": TAKEN,
    "view": VIEW,
    "laid": LAID,
    "check": CHECK,
    "finite": FINITE,
    "fitting": FITTING,
    "locked": LOCKED,
    "group": GROUP,
    "join": JOIN,
    "labels": LABELS,
    "chosen": CHOSEN,
    "keep": KEEP,
    "choose": CHOOSE,
    "share": SHARE,
}
