"""The sources of the GPU kernels: operators of the networks, pictures and masks, in Triton.

    roi_align_kernel, pyramid_roi_align_kernel, window_align_kernel, picture_kernel, mask_kernels
        --compile-->  runtime/gpu/kernels/ptx/*.ptx + manifest.json

`reference` specifies the operators; pictures and masks are specified by the CPU's way in
`runtime/pictures/preprocess.py`, `runtime/results/masks.py` and `runtime/results/rle.py`. `compile`
needs Triton and no GPU; everything after it reads the PTX files, so building and running an engine
need no Triton. `digest` tells whether the files are those of the sources.
"""
