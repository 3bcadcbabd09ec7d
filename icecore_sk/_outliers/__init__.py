"""What `OutlierScorer` is made of: how rows are read, each component score, their common scale.

Nothing here is public, and nothing here imports an estimator: embedders are asked by duck typing.
"""
