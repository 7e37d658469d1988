"""The source of the small NumPy functions that the table of functions calls and NumPy lacks.

In: nothing. Out: `SUPPORT`, from a function's name to its Python source, in an order in which each entry needs
only those before it. The one rule: each entry is stand-alone text that needs `np` and earlier entries only, so
that emitted code can include it as it is; it computes in the dtype of its argument.
"""

SUPPORT: dict[str, str] = {
    "_int": '''\
def _int(x):
    """x toward zero as int64: what lies beyond its range as the nearest there is, nan as 0."""
    x = np.asarray(x)
    if x.dtype.kind == "f" and x.dtype.itemsize < 4:
        x = x.astype(np.float32)
    if x.dtype.kind != "f" or np.all(np.abs(x) < 9.2e18):
        return x.astype(np.int64)
    inside = np.where(np.abs(x) < 2.0**63, x, 0).astype(np.int64)
    return np.where(x >= 2.0**63, 2**63 - 1, np.where(x <= -(2.0**63), -(2**63), inside))
''',
    "_whole": '''\
def _whole(x, n):
    """x ** n for a small whole n, by products."""
    x = x if n > 0 else np.divide(1, x)
    square = x * x
    return square if abs(n) == 2 else square * (x if abs(n) == 3 else square)
''',
    "_quarters": '''\
def _quarters(x, n):
    """x ** (n / 4) by roots, n from -7 to 7; where a number is negative or nan by power."""
    if not np.all(x >= 0):
        return np.power(x, n / 4)
    x = x + 0.0  # no negative zero
    half = np.sqrt(x)
    rest = abs(n) % 4
    root = half if rest == 2 else np.sqrt(half) if rest == 1 else half * np.sqrt(half)
    found = root if abs(n) < 4 else root * x
    return found if n > 0 else np.divide(1, found)
''',
    "_sigmoid": '''\
def _sigmoid(x):
    """1 / (1 + exp(-x)), exact in both tails."""
    if np.iscomplexobj(x):  # where exp overflows, its direction is lost
        left = np.real(x) < 0
        e = np.exp(np.where(left, x, np.negative(x)))
        return np.where(left, e, 1) / (1 + e)
    e = np.exp(np.negative(x))
    e += 1
    return np.divide(1, e)
''',
    "_softplus": '''\
def _softplus(x):
    """log(1 + exp(x)), without overflow."""
    if np.iscomplexobj(x):
        left = np.real(x) < 0
        return np.where(left, 0, x) + np.log1p(np.exp(np.where(left, x, np.negative(x))))
    e = np.exp(np.negative(np.abs(x)))
    u = 1 + e
    found = np.log(u)
    found += (e - (u - 1)) / u  # what 1 + e has lost; log1p is slow
    found += np.maximum(x, 0)
    return found
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
    "_hypot_step": '''\
def _hypot_step(x, y):
    """hypot(x, y) for numbers with a tiny imaginary part."""
    a, b = np.real(x), np.real(y)
    size = np.hypot(a, b)
    return size + 1j * ((a * np.imag(x) + b * np.imag(y)) / size)
''',
    "_atan2_step": '''\
def _atan2_step(y, x):
    """atan2(y, x) for numbers with a tiny imaginary part."""
    a, b = np.real(y), np.real(x)
    size = np.hypot(a, b)
    return np.arctan2(a, b) + 1j * ((b * np.imag(y) - a * np.imag(x)) / size / size)
''',
    "_rsqrt": '''\
def _rsqrt(x):
    """1 / sqrt(x)."""
    return np.divide(1, np.sqrt(x))
''',
    "_polynomial": '''\
def _polynomial(x, coefficients):
    """By Horner's rule, the highest power first."""
    total = coefficients[0] * x
    for c in coefficients[1:-1]:
        total += c
        total *= x
    return total + coefficients[-1]
''',
    "_erf_parts": '''\
def _erf_parts(x):
    """erf(x), good for |x| < 1, and 1 - erf(|x|), good for |x| >= 1, in float64, by Chebyshev approximation."""
    z = np.minimum(np.abs(x), 28.0)
    u = np.minimum(z, 1.0)
    near = np.sign(x) * u * _polynomial(u * u, (
        -7.795898827002142e-10, 1.3720064546777686e-08, -1.6208483801871705e-07, 1.6447424703317362e-06,
        -1.492473690741966e-05, 0.00012055294904839707, -0.0008548325975389692, 0.0052239776071164225,
        -0.02686617064323777, 0.11283791670945006, -0.37612638903183543, 1.1283791670955126,
    ))
    s = 3.0 / (np.maximum(z, 1.0) + 3.0)
    far = s * _polynomial((s * 124.0 - 52.5) / 40.5, (
        5.803077280721023e-13, 1.4957984489360763e-11, -1.783120878746122e-11, -2.3680425792326614e-10,
        2.89822965846047e-10, 2.9559058462811584e-09, -3.3774034334126983e-09, -4.003158603056648e-08,
        1.9201571199076176e-08, 6.06233805919861e-07, 6.34436367314959e-07, -8.87887917800823e-06,
        -3.685719362986156e-05, 4.1725712905173084e-05, 0.001053511509441625, 0.006002804844399306,
        0.022627481511457673, 0.06590888498101177, 0.15737078759505432, 0.31715075532356074,
    ))
    r = np.round(z * 16.0) / 16.0  # z * z in two parts, as exp would magnify its rounding
    return near, far * np.exp(-r * r) * np.exp((r - z) * (r + z))
''',
    "_by_parts": '''\
def _by_parts(function, x):
    """A function of many passes, of as many elements at a time as stay in the cache."""
    flat = x.reshape(-1)
    found = np.empty_like(flat)
    for k in range(0, flat.size, 32768):
        found[k : k + 32768] = function(flat[k : k + 32768])
    return found.reshape(x.shape)
''',
    "_tail": '''\
def _tail(z):
    """The normal distribution's tail behind z over exp(-z * z / 2), float32, 0 <= z <= 14.5, by least squares."""
    s = 4.0 / (z + 4.0)
    return s * _polynomial((1.0 - z * 0.38793103) * s, (
        3.747744358406635e-06, 1.5541409084107727e-05, -4.727832128992304e-05, -0.0003212199080735445,
        0.00011583747254917398, 0.006184983532875776, 0.02906501479446888, 0.08073641359806061,
        0.15753665566444397, 0.22671030461788177,
    ))
''',
    "_erf": '''\
def _erf(x):
    """The error function."""
    x = np.asarray(x)
    if x.size > 65536:
        return _by_parts(_erf, x if x.dtype.kind == "f" else x.astype(np.float64))
    if x.dtype == np.float32:
        z = np.abs(x)
        u = np.minimum(z, 1.0)
        near = u * _polynomial(u * u, (
            7.847259257687256e-05, -0.0008008189033716917, 0.005188099108636379, -0.026853691786527634,
            0.1128358244895935, -0.3761262595653534, 1.1283791670955126,
        ))
        z = np.minimum(z, 10.0)
        far = 1.0 - 2.0 * np.exp(-z * z) * _tail(z * 1.4142135)
        return np.copysign(np.where(u < 1.0, near, far), x)
    dtype = x.dtype if x.dtype.kind == "f" else np.float64
    x = np.asarray(x, np.float64)
    near, far = _erf_parts(x)
    return np.where(np.abs(x) < 1.0, near, np.sign(x) * (1.0 - far)).astype(dtype)
''',
    "_erfc": '''\
def _erfc(x):
    """1 - erf(x), exact to rounding in its tail too."""
    dtype = np.asarray(x).dtype if np.asarray(x).dtype.kind == "f" else np.float64
    x = np.asarray(x, np.float64)
    near, far = _erf_parts(x)
    return np.where(np.abs(x) < 1.0, 1.0 - near, np.where(x < 0, 2.0 - far, far)).astype(dtype)
''',
    "_gelu": '''\
def _gelu(x):
    """x times the normal distribution function of x."""
    if np.size(x) > 65536 and x.dtype.kind == "f":
        return _by_parts(_gelu, x)
    if np.asarray(x).dtype == np.float32:
        z = np.minimum(np.abs(x), 14.5)
        r = np.rint(z * 16.0) * 0.0625  # z * z in two parts, as exp would magnify its rounding
        tail = _tail(z)
        tail *= np.exp(r * r * -0.5)
        tail *= np.exp((r - z) * (r + z) * 0.5)
        return np.maximum(x, 0.0) - np.abs(x) * tail
    return 0.5 * x * _erfc(x * -0.7071067811865476)
''',
    "_erf_step": '''\
def _erf_step(x):
    """erf(x) for numbers with a tiny imaginary part, whose square is dropped."""
    r = np.real(x)
    return _erf(r) + 1j * (np.imag(x) * 1.1283791670955126 * np.exp(-r * r))
''',
    "_gelu_step": '''\
def _gelu_step(x):
    """gelu(x) for numbers with a tiny imaginary part, whose square is dropped."""
    r = np.real(x)
    slope = np.imag(x) * 0.7978845608028654 * np.exp(-0.5 * r * r)
    return 0.5 * x * (_erfc(r * -0.7071067811865476) + 1j * slope)
''',
}
