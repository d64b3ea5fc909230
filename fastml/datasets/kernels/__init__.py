"""The compiled kernels of the data sets: deformation of images, and conversion of text to pixels."""
