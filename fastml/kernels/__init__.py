"""The compiled loops: checked arrays in, results written into what is given; nothing raised, nothing allocated."""
