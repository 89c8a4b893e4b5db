"""Measures this registry beside others, in one run, with the same work for each: ``scripts/bench --help``.

machine, processes   what it runs on, and what a server has used
load, load/          the generator of load, a Go program
content, stores      what every registry holds before it is measured
subjects             the registries, and how each is started
questions/           what is asked of them; one module for each kind of work
results, figures     what came of it
bars, report, charts what is said about it
"""
