"""Faults: named points in the work of a registry, and stores that go wrong there.

The points are in wrappers around a store, never in the store: what is tested is what is served.
"""
