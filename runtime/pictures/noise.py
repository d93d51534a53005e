"""Fixed noise in place of pictures, for what only asks how long a run takes.

Every shape of an artefact is fixed and none depends on the data, so noise costs a session what
pictures cost. Accuracy and post-processing need real ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..contract import Contract


def noise_batch(
    contract: Contract, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """One batch as `Session.run` takes it, whole canvases.

    Returns:
        images: (B, H, W, 3) uint8 in [0, 255].
        image_sizes: (B, 2) int32, (H, W) of each.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, contract.inputs[0].shape, dtype=np.uint8)
    return images, np.tile(np.array(contract.canvas_hw, np.int32), (contract.batch, 1))
