import json

import pytest

from maskrt.eval.coco.data import category_ids_for, load_coco
from maskrt.runtime.errors import InputError


def annotations(folder):
    return folder / "annotations" / "instances_val.json"


def change(folder, edit):
    raw = json.loads(annotations(folder).read_text())
    edit(raw)
    annotations(folder).write_text(json.dumps(raw))


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


def test_coco_2017_layout_is_read_too(folder):
    annotations(folder).rename(folder / "annotations" / "instances_val2017.json")
    (folder / "val").rename(folder / "val2017")
    assert load_coco(folder).images[0].path == folder / "val2017" / "11.png"


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


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; .*data shapes"):
        load_coco(tmp_path / "nowhere")


def test_missing_annotation_file_is_named(folder):
    with pytest.raises(InputError, match=r"no annotations/instances_train\.json"):
        load_coco(folder, "train")


def test_missing_picture_folder_is_named(folder):
    (folder / "val").rename(folder / "pictures")
    with pytest.raises(
        InputError, match=r"val: no such folder; instances_val\.json lists pictures"
    ):
        load_coco(folder)


def test_absent_picture_is_named_with_their_number(folder):
    (folder / "val" / "12.png").unlink()
    with pytest.raises(InputError, match=r"12\.png: no such picture \(1 of the 3"):
        load_coco(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not readable as JSON"), ("[]", "no object"), ("{}", "no list 'images'")],
    ids=["cut off", "a list", "empty object"],
)
def test_broken_json_is_refused(folder, text, message):
    annotations(folder).write_text(text)
    with pytest.raises(InputError, match=message):
        load_coco(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw["images"][1].pop("height"), r"images\[1\] has no height"),
        (lambda raw: raw["annotations"][2].pop("area"), r"annotations\[2\] has no area"),
        (lambda raw: raw["annotations"][0].update(image_id=99), "annotation 0 has image_id 99"),
        (lambda raw: raw["annotations"][0].update(category_id=9), "annotation 0 has category_id 9"),
        (lambda raw: raw["categories"][0].update(name="square"), "two categories share a name"),
        (lambda raw: raw.update(images=[], annotations=[]), "'images' is empty"),
        (lambda raw: raw["images"].append(7), r"images\[3\] has no id"),
    ],
    ids=["height", "area", "picture", "category", "names", "no picture", "a number"],
)
def test_fields_that_are_missing_or_point_nowhere_are_refused(folder, edit, message):
    change(folder, edit)
    with pytest.raises(InputError, match=message):
        load_coco(folder)
