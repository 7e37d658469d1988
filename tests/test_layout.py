"""The layout: it keeps the tree and the comments, changes nothing twice, and looks as it should."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from test_parser import TEXTS, deep, random_words

from indexlang.errors import LanguageSyntaxError, Source
from indexlang.size_limits import DEEPEST
from indexlang.syntax.layout import layout
from indexlang.syntax.parser import parse

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted([*(ROOT / "examples").glob("*.idx"), *(ROOT / "indexlang" / "library").glob("*.idx")])


def laid_out(text: str) -> str:
    """The layout, checked for what each must have."""
    file = parse(Source(text))
    result = layout(file)
    again = parse(Source(result))
    assert again == file
    assert [c for _, c in again.comments] == [c for _, c in file.comments]
    assert layout(again) == result
    assert result.endswith("\n")
    assert not any(line.endswith(" ") for line in result.split("\n"))
    assert "\n\n\n" not in result
    return result


@pytest.mark.parametrize("text", TEXTS)
def test_the_tree_and_the_comments_stay(text: str) -> None:
    laid_out(text)
    laid_out(text.replace("\n", "  # and\n"))
    laid_out("# so\n\n\n" + text.replace("\n", "\n\n\n# it is\n\n\n"))
    laid_out(re.sub(r",(?=[^()\[\]]*[\])])", ",  # here\n", re.sub("#.*", "", text)))  # inside of brackets


def one(text: str) -> str:
    return laid_out(text).rstrip("\n")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("y [ b,i ]=W[ i , j]*x[b,j] # dense", "y[b,i] = W[i,j] * x[b,j]  # dense"),
        ("y[i]=((a[i]))+(b[i]*c[i])-(d-e)", "y[i] = a[i] + b[i] * c[i] - (d - e)"),
        ("y = (a-b)-c-(d-e)*(f*g)/(h)", "y = a - b - c - (d - e) * (f * g) / h"),
        ("y = (a**b)**c + a**(b**c) - (-a)**-b + -(a**b)", "y = (a**b)**c + a**b**c - (-a)**-b + -a**b"),
        ("y = -(a*b) + (-a)*b - -b", "y = -(a * b) + -a * b - -b"),
        ("y = 10000 ** (2*k/D)", "y = 10000**(2*k/D)"),
        ("y = (not(a and b)) or (not a) and b", "y = not (a and b) or not a and b"),
        ("y = (a<b)+(not a)", "y = (a < b) + (not a)"),
        ("y = (a < b) < c", "y = (a < b) < c"),
        ("y = x[b , 2 * i + di , ... , (g , c)]", "y = x[b,2*i+di,...,(g,c)]"),
        ("y = x[pad( i + k , 1 , value = -inf )]", "y = x[pad(i+k,1,value=-inf)]"),
        ("y = x[(i + j)*2 , (k)]", "y = x[(i+j)*2,k]"),
        ("y = x[int(i<j and k>=l)]", "y = x[int(i<j and k>=l)]"),
        ("y = f( a,b , key=c+d )", "y = f(a, b, key=c + d)"),
        ("y = sum[ i , j ]( x[i,j]*2 )", "y = sum[i,j](x[i,j] * 2)"),
        ("y = where( a>b,a,b ) where 1<=i<n,(i+j)%2==0", "y = where(a > b, a, b) where 1 <= i < n, (i + j) % 2 == 0"),
        ("m[i]max=x[i,j]", "m[i] max= x[i,j]"),
        ("max=max", "max = max"),
        ("s[] = 1E-5 + .5", "s[] = 1E-5 + .5"),
        ("y,k=pool( x )", "y, k = pool(x)"),
        ("f( u,v )=u*v", "f(u, v) = u * v"),
        ("shape x[ B,2 * H+1 ],s[ ]", "shape x[B,2*H+1], s[]"),
        ("from  layers import relu,conv", "from layers import relu, conv"),
        ("µ = Ω", "μ = Ω"),
        ("y = (a +  # one\n b)  # two", "# one\ny = a + b  # two"),
        ("#one  ", "#one"),
    ],
)
def test_a_line(text: str, result: str) -> None:
    assert one(text) == result


def test_blank_lines_and_comments() -> None:
    text = """\


# the file


x = 1
# a function
f(u) = u
# the layer
layer a(x; k = 2, m=1)->y :   # its header

  # in front


  y = x
  # behind it
# of the next

layer b(x,   # the input
        w) -> y, z:
  y = x*w
  z = y
 # in b

  # in b, too
y = x
# the end

"""
    assert (
        laid_out(text)
        == """\
# the file

x = 1
# a function
f(u) = u

# the layer
layer a(x; k=2, m=1) -> y:  # its header

    # in front

    y = x
    # behind it

# of the next

# the input
layer b(x, w) -> y, z:
    y = x * w
    z = y
    # in b

    # in b, too

y = x
# the end
"""
    )


SUM = " + ".join(f"alpha{k}[i] * beta{k}[i]" for k in range(8))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (
            f"y[i] = {SUM} where i < 3",
            "y[i] = (alpha0[i] * beta0[i] + alpha1[i] * beta1[i] + alpha2[i] * beta2[i] + alpha3[i] * beta3[i]\n"
            "        + alpha4[i] * beta4[i] + alpha5[i] * beta5[i] + alpha6[i] * beta6[i]\n"
            "        + alpha7[i] * beta7[i]) where i < 3",
        ),
        (
            f"y[i] = relu({SUM})",
            "y[i] = relu(alpha0[i] * beta0[i] + alpha1[i] * beta1[i] + alpha2[i] * beta2[i]\n"
            "            + alpha3[i] * beta3[i] + alpha4[i] * beta4[i] + alpha5[i] * beta5[i]\n"
            "            + alpha6[i] * beta6[i] + alpha7[i] * beta7[i])",
        ),
        (
            f"layer f({', '.join(f'weights{k}[N,M{k}]' for k in range(6))}; stride=1) -> y:\n    y = 1",
            "layer f(weights0[N,M0], weights1[N,M1], weights2[N,M2], weights3[N,M3], weights4[N,M4],\n"
            "        weights5[N,M5]; stride=1) -> y:\n    y = 1",
        ),
        (
            f"{'y' * 70} = conv({', '.join(f'argument{k}' for k in range(4))})",
            f"{'y' * 70} = conv(\n        argument0, argument1, argument2, argument3)",
        ),
    ],
)
def test_long_lines_are_broken(text: str, result: str) -> None:
    assert one(text) == result


def test_random_expressions() -> None:
    broken = 0
    for seed in range(600):
        source = random.Random(seed)
        text = "y[i] = " + " ".join(random_words(source, source.randrange(8)))
        try:
            parse(Source(text))
        except LanguageSyntaxError:
            continue
        broken += laid_out(text).count("\n") > 1
    assert broken > 20


def test_the_deepest_expressions() -> None:
    most = DEEPEST - 1
    for text in deep(DEEPEST):
        laid_out(f"y = {text}")
    laid_out("y = " + "(x + " * most + "1" + ")" * most)
    laid_out("y = " + "x < (" * most + "1" + ")" * most)


def test_an_empty_layout() -> None:
    assert laid_out("# only this\n") == "# only this\n"


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.name)
def test_our_own_files_are_laid_out(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert laid_out(text) == text


ALIGNED = """\
y[b,o]    = x[b,i]*W[i,o]
# a comment between
y[b,o]   += c[o]
a        *= 2  # one more column than it needs
long[i] max= y[i,o]

y[b]  = 1
y[b] += 2
z     = 3
"""


def test_signs_in_one_column_stay_so() -> None:
    assert (
        laid_out(ALIGNED)
        == """\
y[b,o]  = x[b,i] * W[i,o]
# a comment between
y[b,o] += c[o]
a      *= 2  # one more column than it needs
long[i] max= y[i,o]

y[b]  = 1
y[b] += 2
z     = 3
"""
    )


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("y   = 1\nyyy = 2\n\nz   = 3", "y   = 1\nyyy = 2\n\nz = 3"),  # a blank line between
        ("yy = 1\ny = 2", "yy = 1\ny = 2"),  # they were not aligned
        ("y   = 1\nyyy = 2\ny += 3", "y   = 1\nyyy = 2\ny += 3"),
        ("y  = (1 +\n 2)\nyy = 3", "y  = 1 + 2\nyy = 3"),
        ("y [ i ]  = 1\nlonger[i]=2", "y[i]      = 1\nlonger[i] = 2"),
        ("y[(i +\n 1)]  = 1\ny = 1", "y[i+1] = 1\ny = 1"),
        ("y   = 1\nf(x) = x\nz   = 2", "y = 1\nf(x) = x\nz = 2"),
        (
            "layer f(x) -> y:\n    y     = x\n    y    += 1\ny     = 2",
            "layer f(x) -> y:\n    y  = x\n    y += 1\n\ny = 2",
        ),
    ],
)
def test_what_is_aligned_and_what_is_not(text: str, result: str) -> None:
    assert one(text) == result


def test_a_header_stays_broken_where_its_author_broke_it() -> None:
    text = "layer f(\n  x[N],\n  a.W [5],  a.b,\n  b.W; k=1,\n  m=2) -> y: # so\n    y = 1\n"
    result = "layer f(x[N],\n        a.W[5], a.b,\n        b.W; k=1,\n        m=2) -> y:  # so\n    y = 1\n"
    assert laid_out(text) == result
    assert laid_out("layer f(x,  # a comment breaks no line\n  y) -> z:\n  z = x\n").count("\n") == 3
    many = ", ".join(f"parameter{k}[N]" for k in range(9))
    assert laid_out(f"layer f(x,\n{many}) -> y:\n    y = x\n").splitlines()[:2] == [
        "layer f(x,",
        "        parameter0[N], parameter1[N], parameter2[N], parameter3[N], parameter4[N], parameter5[N],",
    ]


PADS = [f"pad(stride*position{k}+dilation*tap{k},padding{k})" for k in range(3)]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (
            f"y[b,i] = x[b,{','.join(PADS)},c] where i < 3",
            f"y[b,i] = x[b,{PADS[0]},\n           {PADS[1]},\n           {PADS[2]},c] where i < 3",
        ),
        (f"y[b,{','.join(PADS)}] = 1", f"y[b,{PADS[0]},{PADS[1]},\n  {PADS[2]}] = 1"),
        (
            f"y[b,i] = K[i] * x[{PADS[0]},{PADS[1]}]",
            f"y[b,i] = (K[i]\n          * x[{PADS[0]},\n              {PADS[1]}])",
        ),
        (
            f"layer f(x, stride, dilation) -> y[{','.join(PADS)}]:\n    y = 1",
            f"layer f(x, stride, dilation) -> y[{PADS[0]},\n                                  {PADS[1]},\n"
            f"                                  {PADS[2]}]:\n    y = 1",
        ),
        (
            f"y[i] = {'a' * 40}[{PADS[0]}+{PADS[1][:-8]}),i]",
            f"y[i] = {'a' * 40}[\n        {PADS[0]}+{PADS[1][:-8]}),i]",
        ),
    ],
)
def test_long_subscripts_are_broken(text: str, result: str) -> None:
    assert one(text) == result


def test_random_spaces_and_lines() -> None:
    """What is laid out stays so, whatever stands in a column by accident."""
    for seed in range(300):
        source = random.Random(seed)
        lines = []
        for _ in range(source.randrange(2, 9)):
            target = source.choice(["y", "yy", "y[i]", "y[i,j+1]", "long[i]", "a, bb"])
            sign = "=" if "," in target and "[" not in target else source.choice(["=", "+=", "*=", "max="])
            value = source.choice(["x[i]", "f(x,\n  y)", "(1\n+ 2)", "g(x) * 2", "h(a, b)  # so"])
            lines.append(f"{target}{' ' * source.randrange(5)}{sign} {value}")
            lines += source.choice([[], [], [""], ["# and"], ["", "# or", ""]])
        laid_out("\n".join(lines) + "\n")
