"""The GPU kernels of the custom operators, as PTX for every architecture that is supported.

    roi_align_kernel, window_align_kernel  --compile-->  ptx/*.ptx + ptx/manifest.json  --shipped-->

`reference` is the specification. `compile` needs Triton and no GPU; everything after it reads the
PTX files that come with the package, so building and running an engine need no Triton.
"""
