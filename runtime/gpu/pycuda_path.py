"""With PyCUDA: the caller's context, stream, memory and GPUArrays around a `TrtSession`.

    import pycuda.autoprimaryctx  # the context that TensorRT and cuda-python use: the primary one
    import pycuda.driver as drv
    from pycuda import gpuarray

    stream = drv.Stream()
    with TrtSession(path, stream=stream, allocator=drv.mem_alloc) as session:
        given = gpuarray.to_gpu(images), gpuarray.to_gpu(image_sizes)
        outputs = session.run_on_device(*given)
        scores = gpu_array_from(outputs["scores"]).get_async(stream)
        stream.synchronize()

`pycuda.autoinit` makes another context, in which addresses of this one mean nothing. The context
must be current in each thread that runs the session. GPUArrays go in as they are, by their
`__cuda_array_interface__`.
Source: PyCUDA 2024.1, `pycuda.gpuarray.GPUArray` and `pycuda.autoprimaryctx`.
"""

from __future__ import annotations

from typing import Any

from ..errors import SessionError, pip_line
from .device_array import DeviceArray


def gpu_array_from(array: DeviceArray) -> Any:
    """A `pycuda.gpuarray.GPUArray` on the same memory, which it keeps no longer than the session.

    Raises:
        SessionError: PyCUDA is not installed.
    """
    try:
        from pycuda.gpuarray import GPUArray
    except ImportError as err:
        raise SessionError(
            f"PyCUDA: not usable ({err}); expected it for GPUArrays. " + pip_line("pycuda")
        ) from err
    return GPUArray(array.shape, array.dtype, gpudata=array.pointer, base=array)
