"""The parts of `suite.py`: one module for each kind of work, and the processes that its contenders live in.

`letterbox`, `arrays`, `kernels` and `texts` each say how their items are loaded and who contends; they are imported by the
environment of a contender, so they import what is not everywhere only where it is used. `runs` times whole commands.
"""
