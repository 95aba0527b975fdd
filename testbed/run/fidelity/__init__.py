"""Was the emulator good enough for its numbers? What the host did during a transfer, and the judgement of it.

- `kernel.py`: the kernel's texts about cores, processes and packets, read;
- `load.py`, `turns.py`, `forwarders.py`, `rates.py`, `steadiness.py`: what was measured, a file a subject;
- `watch.py`: all of that, from a transfer's start to its end;
- `judge.py`: the thresholds, and what they make of a run. docs/fidelity.md has the reasons.
"""
