"""How kernels are compiled: options, the cache on disk, the lock around parallel kernels, calls of compiled code."""
