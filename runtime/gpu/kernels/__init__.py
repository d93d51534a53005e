"""GPU kernels as they are shipped: PTX for every supported GPU and later ones, and their launch.

    ptx/*.ptx + ptx/manifest.json  --shipped-->  Kernel  --launch-->  work on a stream

Their Triton sources are in `engines/kernels`, whose `compile` writes these files. Choosing and
starting one needs cuda-python alone.
"""
