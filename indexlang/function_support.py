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
    "_erf": '''\
def _erf(x):
    """The error function."""
    dtype = np.asarray(x).dtype if np.asarray(x).dtype.kind == "f" else np.float64
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
