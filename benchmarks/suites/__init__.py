"""The suites that asv runs, a module for each topic. `problems` has what they share, `steps` the steps of a batch."""
