"""The source of the small NumPy functions that the table of functions calls and NumPy lacks.

In: nothing. Out: `SUPPORT`, from a function's name to its Python source, in an order in which each entry needs
only those before it. The one rule: each entry is stand-alone text that needs `np` and earlier entries only, so
that emitted code can include it as it is; it computes in the dtype of its argument.
"""

SUPPORT: dict[str, str] = {
    "_sigmoid": '''\
def _sigmoid(x):
    """1 / (1 + exp(-x)), without overflow, exact in both tails."""
    left = np.real(x) < 0
    e = np.exp(np.where(left, x, np.negative(x)))
    return np.where(left, e, 1) / (1 + e)
''',
    "_softplus": '''\
def _softplus(x):
    """log(1 + exp(x)), without overflow."""
    if not np.iscomplexobj(x):
        return np.logaddexp(x, 0)
    left = np.real(x) < 0
    return np.where(left, 0, x) + np.log1p(np.exp(np.where(left, x, np.negative(x))))
''',
    "_silu": '''\
def _silu(x):
    """x * sigmoid(x)."""
    return x * _sigmoid(x)
''',
    "_mod_step": '''\
def _mod_step(a, b):
    """a % b for numbers with a tiny imaginary part."""
    return a - b * np.floor(np.real(a) / np.real(b))
''',
    "_atan2_step": '''\
def _atan2_step(y, x):
    """atan2(y, x) for numbers with a tiny imaginary part."""
    a, b = np.real(y), np.real(x)
    return np.arctan2(a, b) + 1j * ((b * np.imag(y) - a * np.imag(x)) / (a * a + b * b))
''',
    "_erfc": '''\
def _erfc(x):
    """1 - erf(x), exact to rounding in its tail too."""
    x = np.asarray(x)
    z = np.abs(x).astype(np.float64)
    t = np.minimum(z, 3.0)
    term = total = t
    for n in range(1, 70):  # erf for small z: a series of positive terms
        term = term * (2 * t * t / (2 * n + 1))
        total = total + term
    near = 1 - total * np.exp(-t * t) * 1.1283791670955126
    t = np.maximum(z, 2.0)
    far = t
    for n in range(60, 0, -1):  # a continued fraction for large z
        far = t + (n / 2) / far
    far = np.exp(-t * t) / far * 0.5641895835477563
    c = np.where(z < 2.0, near, far)
    return np.where(x < 0, 2 - c, c).astype(np.result_type(x.dtype, np.float16) if x.dtype.kind == "f" else np.float64)
''',
    "_erf": '''\
def _erf(x):
    """The error function."""
    return 1 - _erfc(x)
''',
    "_erf_step": '''\
def _erf_step(x):
    """erf(x) for numbers with a tiny imaginary part, whose square is dropped."""
    r = np.real(x)
    return _erf(r) + 1j * (np.imag(x) * 1.1283791670955126 * np.exp(-r * r))
''',
    "_gelu": '''\
def _gelu(x):
    """x times the normal distribution function of x."""
    return 0.5 * x * _erfc(x * -0.7071067811865476)
''',
    "_gelu_step": '''\
def _gelu_step(x):
    """gelu(x) for numbers with a tiny imaginary part."""
    return 0.5 * x * (1 + _erf_step(x * 0.7071067811865476))
''',
}
