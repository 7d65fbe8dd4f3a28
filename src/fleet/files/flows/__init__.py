"""Workflows: files in two dialects, one normal form, and what they lower to.

    reading    text -> documents with places      forms, checking   what holds, and where not
    loading    all that a run can reach: a bundle  lowering          a list of steps -> kernel steps
    scope      what an expression sees             expressions       how it is evaluated

The graph dialect becomes a list of `delegate` steps whose `needs` are its `deps`; from there on
there is one meaning. A bundle is kept by its digest, and a kernel step's params name a place in it.
"""
