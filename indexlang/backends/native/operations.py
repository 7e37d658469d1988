"""The operations that registers go through: names, and the types they take.

    arithmetic  add sub mul div neg                of one type; integers wrap; div is of floats
                quotient remainder                 of integers, towards 0; the second argument is not 0
                fma(a, b, c)                       a*b + c of floats, rounded once or twice, as the machine does it
                abs copysign sqrt floor ceil trunc nearest    of floats (nearest: ties to even); abs of integers, too
                least greatest                     of floats: nan where one of both is; of integers
    bits        and or xor not shl shr             of integers and bools; shr is logical
                bits                               the same bits as another dtype of equal width
    compare     lt le gt ge eq ne                  of numbers of one type, to bool; with nan false, but ne true
                ordered                            of one float: it is no nan
    choose      select(condition, a, b)            a bool a lane, or one for all
                same(a)                            the value itself
    convert     cast                               as NumPy's astype; a float out of an integer's range gives anything
    lanes       spread                             a scalar in all lanes
                total most fewest                  of a vector: the sum (halves added, again and again), the extrema
                lane(v, Literal k)                 one lane as a scalar
                shuffle(v, Literal k ...)          lanes in another order, some again or not at all; 0 for one behind

In: nothing. Out: rows. The one rule: this table is all that a Nest may ask for; whatever else the language has is made
of it (`functions`).
"""

from __future__ import annotations

SAME = ("add", "sub", "mul", "neg", "abs", "least", "greatest", "and", "or", "xor", "not", "shl", "shr")
FLOATS = ("div", "fma", "copysign", "sqrt", "floor", "ceil", "trunc", "nearest")
INTEGERS = ("quotient", "remainder")
COMPARE = ("lt", "le", "gt", "ge", "eq", "ne", "ordered")
OTHERS = ("same", "bits", "select", "cast", "spread", "total", "most", "fewest", "lane", "shuffle")
OPERATIONS = frozenset((*SAME, *FLOATS, *INTEGERS, *COMPARE, *OTHERS))
