"""The suites that asv runs, a module a topic; `problems` has what they share, `steps` the kernels of a batch."""
