"""Coefficients of polynomials, the highest power first, and constants in two parts.

`python -m tools.function_coefficients` prints this file.

In: nothing. Out: numbers. The one rule: they are written as bits, so that nothing rounds them again.
"""

from __future__ import annotations

from collections.abc import Mapping


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, text.split()))


# (exp(r) - 1 - r) / r**2
EXP: Mapping[str, tuple[float, ...]] = {
    "float32": _numbers("""
        0x1.6d16060000000p-10 0x1.12106c0000000p-7 0x1.5555160000000p-5 0x1.5554d80000000p-3
        0x1.0000000000000p-1
    """),
    "float64": _numbers("""
        0x1.1f75aba0b1e2ep-29 0x1.af52906239de4p-26 0x1.27e4da1a3bf04p-22 0x1.71ddffef9e7b1p-19
        0x1.a01a01a741b3cp-16 0x1.a01a01aca0134p-13 0x1.6c16c16c16212p-10 0x1.111111110ff87p-7
        0x1.5555555555556p-5 0x1.5555555555557p-3 0x1.0000000000000p-1
    """),
}

# (log(1 + f) - f + f**2 / 2) / f**3
LOG: Mapping[str, tuple[float, ...]] = {
    "float32": _numbers("""
        -0x1.43b2460000000p-4 0x1.02814e0000000p-3 -0x1.0a33ea0000000p-3 0x1.231ce60000000p-3
        -0x1.54d03e0000000p-3 0x1.999f140000000p-3 -0x1.0000ce0000000p-2 0x1.5555540000000p-2
    """),
    "float64": _numbers("""
        -0x1.9a9a68c447047p-6 0x1.d03182232bb25p-5 -0x1.f6223b4ebae32p-5 0x1.b81071d2b9323p-5
        -0x1.b7c4ffe0c77fdp-5 0x1.de2b25a838da5p-5 -0x1.009d9ede13925p-4 0x1.1148d6d97be33p-4
        -0x1.248bbb2b73dd0p-4 0x1.3b105762c04e6p-4 -0x1.555574cd5f5abp-4 0x1.745d343946656p-4
        -0x1.9999999711ba3p-4 0x1.c71c713ccca51p-4 -0x1.fffffffe0374fp-4 0x1.24924925376dap-3
        -0x1.5555555558074p-3 0x1.9999999999010p-3 -0x1.fffffffffffe7p-3 0x1.5555555555556p-2
    """),
}

# the normal tail behind z over exp(-z**2 / 2), times z + 5, minus 1, in z / (z + 5) - MIDDLE
TAIL: Mapping[str, tuple[float, ...]] = {
    "float32": _numbers("""
        0x1.6ddb1c0000000p-5 0x1.03ab320000000p-2 -0x1.8da69c0000000p-2 -0x1.b724ec0000000p-3
        0x1.7b81220000000p+0 -0x1.671c920000000p+1 0x1.c21ba00000000p+1 -0x1.aec42a0000000p+1
        0x1.4bfd200000000p+1 -0x1.a61eee0000000p+0 -0x1.0421ea0000000p-3
    """),
    "float64": _numbers("""
        -0x1.39f9ab4d08635p-8 0x1.4b1468bd08faap-8 0x1.29a7b392b55bep-7 -0x1.3c414b219439cp-7
        -0x1.ddbc6064e2590p-7 0x1.ce0ccc5a7506ap-7 0x1.8307163bf5f32p-6 -0x1.837bc3215255dp-6
        -0x1.33666b63629a1p-5 0x1.9b5a6315bb9e7p-5 0x1.aa92129ca6a64p-5 -0x1.fb0d28e0e014ap-4
        -0x1.7f5ba7e3fe96bp-6 0x1.2acd5ab13eccap-2 -0x1.2052309a39c7bp-2 -0x1.4cb8ba1bfbf5fp-2
        0x1.67d2978c6c142p+0 -0x1.3aa83fa8d1f85p+1 0x1.7ec5d129cca08p+1 -0x1.6c41336483866p+1
        0x1.1c652d06489ffp+1 -0x1.74ea9e138c856p+0 -0x1.8322ad19e9e8bp-3
    """),
}

# erf(x) / x - 1 in x**2
ERF: Mapping[str, tuple[float, ...]] = {
    "float32": _numbers("""
        -0x1.445f480000000p-17 0x1.d887500000000p-14 -0x1.bccf660000000p-11 0x1.562a600000000p-8
        -0x1.b829c80000000p-6 0x1.ce2f080000000p-4 -0x1.8127460000000p-2 0x1.06eba80000000p-3
    """),
    "float64": _numbers("""
        0x1.05ffd737fb32ep-34 -0x1.389d4f2641625p-30 0x1.f7b4bf3b13964p-27 -0x1.5f1ecb6f0764cp-23
        0x1.b9df224ca4b97p-20 -0x1.f4d1e3183f7aep-17 0x1.f9a321d5b8e1ep-14 -0x1.c02db3dac435fp-11
        0x1.565bcd0dbaa38p-8 -0x1.b82ce31284e00p-6 0x1.ce2f21a042b30p-4 -0x1.812746b0379e6p-2
        0x1.06eba8214db69p-3
    """),
}

# (the normal distribution - 1/2) / x in x**2
NORMAL: Mapping[str, tuple[float, ...]] = {
    "float32": _numbers("""
        -0x1.234c980000000p-17 0x1.e2bfc60000000p-14 -0x1.373b920000000p-10 0x1.46d0340000000p-7
        -0x1.1058380000000p-4 0x1.9884540000000p-2
    """),
    "float64": _numbers("""
        0x1.486e60bfe8aefp-38 -0x1.ef3346592f0bep-34 0x1.3870eb5d6d121p-29 -0x1.622240e226a54p-25
        0x1.658a20ea419d1p-21 -0x1.3ce8fac0279fep-17 0x1.e42b0d5213a9ep-14 -0x1.37403f6ba10d6p-10
        0x1.46d04297691dap-7 -0x1.1058377e2cee0p-4 0x1.9884533d43651p-2
    """),
}

# (sin(r) - r) / r**3 in r**2
SIN: Mapping[str, tuple[float, ...]] = {
    "float32": _numbers("""
        0x1.6da8ec0000000p-19 -0x1.a013660000000p-13 0x1.11110e0000000p-7 -0x1.5555560000000p-3
    """),
    "float64": _numbers("""
        -0x1.ab066192d3e8fp-41 0x1.612161267019ep-33 -0x1.ae6453ecab5c4p-26 0x1.71de3a544a6cep-19
        -0x1.a01a01a019880p-13 0x1.1111111111110p-7 -0x1.5555555555555p-3
    """),
}

# (cos(r) - 1 + r**2 / 2) / r**4 in r**2
COS: Mapping[str, tuple[float, ...]] = {
    "float32": _numbers("""
        -0x1.2516360000000p-22 0x1.a015980000000p-16 -0x1.6c16c00000000p-10 0x1.5555560000000p-5
    """),
    "float64": _numbers("""
        0x1.ab68d5c08a457p-45 -0x1.93949f74df9adp-37 0x1.1eed8ddaa5390p-29 -0x1.27e4fb7708fb2p-22
        0x1.a01a01a019cb8p-16 -0x1.6c16c16c16c16p-10 0x1.5555555555555p-5
    """),
}

# (sinh(x) - x) / x**3 in x**2
SINH: Mapping[str, tuple[float, ...]] = {
    "float64": _numbers("""
        0x1.99f0806c2628dp-49 0x1.ae777c36fd5b6p-41 0x1.612467ccb2260p-33 0x1.ae6456792a77fp-26
        0x1.71de3a556f96cp-19 0x1.a01a01a01a001p-13 0x1.1111111111111p-7 0x1.5555555555555p-3
    """),
}

# (atan(x) - x) / x**3 in x**2
ATAN: Mapping[str, tuple[float, ...]] = {
    "float64": _numbers("""
        -0x1.c80183a6f4d8cp-7 0x1.f5e70778c399ap-6 -0x1.503a72dea3f41p-5 0x1.829c6fefc6aacp-5
        -0x1.aebd0d9afbb7ap-5 0x1.e1d8e7e3671b7p-5 -0x1.1110ced7ae904p-4 0x1.3b13aea92b800p-4
        -0x1.745d17355fb40p-4 0x1.c71c71c6dda8cp-4 -0x1.24924924920acp-3 0x1.9999999999997p-3
        -0x1.5555555555555p-2
    """),
}

# (asin(x) - x) / x**3 in x**2
ASIN: Mapping[str, tuple[float, ...]] = {
    "float64": _numbers("""
        0x1.e529c6fce9bb4p-6 -0x1.3b416bb7d9257p-6 0x1.406192d124629p-6 0x1.8f193743418ffp-9
        0x1.31622469ce5adp-7 0x1.3b49de7121487p-7 0x1.7b027ee1dd585p-7 0x1.c990ad3d8fdcap-7
        0x1.1c4efce23019fp-6 0x1.6e8ba123e494cp-6 0x1.f1c71c7a52ba3p-6 0x1.6db6db6dac1e0p-5
        0x1.3333333333388p-4 0x1.5555555555555p-3
    """),
}

MIDDLE = {"float32": 0.4300000071525574, "float64": 0.47}

LN2_FLOAT32 = _numbers("""
    0x1.62e4000000000p-1 0x1.7f7d1c0000000p-20
""")
LN2_FLOAT64 = _numbers("""
    0x1.62e42fee00000p-1 0x1.a39ef35793c76p-33
""")
HALF_PI = _numbers("""
    0x1.921fb54442d18p+0 0x1.1a62633145c07p-54
""")
TWO_OVER_PI = _numbers("""
    0x1.45f306d000000p-1 0x1.9391054000000p-30 0x1.4fe13ab000000p-59 0x1.d1f534d000000p-88
    0x1.b81b6c5000000p-117 0x1.5993c40000000p-148 0x1.c820ff2000000p-175
""")
# The bits of 2 / pi behind 55 zeros, 64 in each word.
WORDS = (
    0x145,
    0xF306DC9C882A53F8,
    0x4EAFA3EA69BB81B6,
    0xC52B3278872083FC,
    0xA2C757BD778AC36E,
    0x48DC74849BA5C00C,
    0x925DD413A32439FC,
    0x3BD63962534E7DD1,
    0x46BEA5D768909D3,
    0x38E04D68BEFC8273,
    0x23AC7306A673E939,
    0x8BF177BF250763F,
    0xF12FFFBC0B301FDE,
    0x5E2316B414DA3EDA,
    0x6CFD9E4F96136E9E,
    0x8C7ECD3CBFD45AEA,
    0x4F758FD7CBE2F67A,
    0xE73EF14A525D4D7,
    0xF6BF623F1ABA10AC,
    0x6608DF8F6D757E1,
)
