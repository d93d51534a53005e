import pytest

from maskrt.eval.coco.data import category_ids_for, load_coco
from maskrt.runtime.errors import InputError


def test_labels_follow_increasing_category_ids(data):
    assert data.category_ids == (3, 7)
    assert data.class_names == ("square", "disc & <ring>")
    assert data.label_of(7) == 1
    assert [image.image_id for image in data.images] == [11, 12, 13]
    assert data.images[0].image_hw == (200, 240)


def test_annotation_ids_start_at_one_so_that_none_reads_as_unmatched(data):
    assert sorted(data.truth.getAnnIds()) == [1, 2, 3, 4, 5]


def test_reading_prints_nothing(folder, capsys):
    load_coco(folder)
    assert capsys.readouterr().out == ""


def test_first_keeps_only_the_first_pictures(data):
    assert [image.image_id for image in data.first(2).images] == [11, 12]
    assert len(data.first(None).images) == 3


def test_category_ids_follow_the_models_own_order(data):
    assert category_ids_for(data, ("disc & <ring>", "square"), "m") == (7, 3)


def test_other_class_names_are_refused_with_both_lists(data):
    with pytest.raises(
        InputError, match=r"only in the data: disc & <ring>; only in the model: dog"
    ):
        category_ids_for(data, ("square", "dog"), "m")


def test_absent_picture_is_named_with_their_number(folder):
    (folder / "val" / "12.png").unlink()
    with pytest.raises(InputError, match=r"12\.png: no such picture \(1 of the 3"):
        load_coco(folder)
