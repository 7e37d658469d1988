"""Random programs that look like layers, and all that is asked of each: `make fuzz`.

    words, scene, values, statements, idioms     a seed to a Sample: its text, its inputs
    sample                                       what a program is fed: numbers, types, memory layouts
    limits                                       the planner's thresholds under which it runs
    trial, judge                                 all that is asked of it, and how near results must be
    shrink, report                               a failing Sample made small, and printed as a test
    one, __main__                                one program by its name; the long run

The one rule: nothing here knows how a program is planned. What is right comes from the plain loops, from `dense`, and
from a complex step.
"""
