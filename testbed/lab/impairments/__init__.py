"""What a link does to packets beyond its rate: delay, jitter, loss, duplication, reordering (docs/impairments.md).

An engine is one file here that does what `base.Engine` says, and a line in `choose.py`.
"""
