"""Whether a split's pictures are there, whole and in the annotated size, without decoding them.

A picture that is absent, cut off, of another size or turned by its EXIF orientation would end a run
when it is drawn, hours late. JPEG and PNG tell their size in a few hundred bytes and end in a
marker; what they leave in doubt is decoded. Other formats are measured when they are drawn.
"""

from __future__ import annotations

import os.path

from ...runtime.errors import InputError
from ..datasets.picture_sizes import header_size_hw
from .annotations import CocoSplit, ImageRecord, read_record, size_error

_MEASURED = (".jpg", ".jpeg", ".png")


def require_pictures(found: CocoSplit) -> None:
    """Check that every picture is there and, as far as its header tells, has the annotated size.

    Raises:
        InputError: one is not.
    """
    absent = [image.path for image in found.images if not os.path.isfile(image.path)]
    if absent:
        raise InputError(
            f"{absent[0]}: no such picture ({len(absent)} of the {len(found.images)} that "
            f"{found.annotation_file.name} lists are absent). Put the pictures there, or remove "
            "them from the file."
        )
    for image in found.images:
        _require_size(image)


def _require_size(image: ImageRecord) -> None:
    size_hw = header_size_hw(image.path)
    if size_hw == image.image_hw:
        return
    # an orientation at the end of a PNG may turn it after all
    doubtful = size_hw == image.image_hw[::-1]
    if doubtful or (size_hw is None and image.path.suffix.lower() in _MEASURED):
        read_record(image)
    elif size_hw is not None:
        raise size_error(image, size_hw)
