"""What chapter 6 says about data, as functions: the reference for labs, experiments, benchmarks.

`text` makes text of pages and tells languages apart; `rules` holds Gopher's and C4's rules and the
`funnel` that counts what each stage removes; `duplicates` finds near duplicates; `quality`,
`mixtures` and `contamination` do what they are called. `stream` sends a million documents through
a learner's own functions, `libraries` asks other people's. Import the module you need.
"""
