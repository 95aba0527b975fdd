"""The highest rate at which this machine carries a scenario faithfully.

- `search.py`: the highest rate that holds, found by trying. Pure;
- `trial.py`: one rate tried: a short run of one scheme, without faults, judged by its fidelity;
- `calibration.py`: what came out, on disk, by machine and by what was carried;
- `carry_out.py`: all schemes of a scenario, one after the other.
"""
