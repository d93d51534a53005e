"""Whatever tool wrote a labelled folder, its pictures and objects are the same."""

import json
import logging
import shutil

import pytest

from maskrt.eval import DataSource, load_coco
from maskrt.eval.coco.annotations import read_split
from maskrt.eval.datasets.finding import names_of_split
from maskrt.eval.datasets.picture_files import PictureFiles
from maskrt.runtime.errors import InputError
from maskrt.runtime.files import sha256_of

from . import writers

ALL = {**writers.SPLIT, **writers.UNSPLIT}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return writers.drawn(tmp_path_factory.mktemp("drawn") / "shapes")


def objects(*splits):
    """Every object by its picture's and its class's name; numbers to a thousandth of a pixel."""
    found = []
    for split in splits:
        pictures = {image.image_id: image for image in split.images}
        names = {category.category_id: category.name for category in split.categories}
        for one in split.annotations:
            image = pictures[one.image_id]
            polygon = [round(value, 3) for value in one.segmentation[0]]
            box = [round(value, 3) for value in one.bbox]
            of = (image.path.name, image.image_hw, names[one.category_id], one.iscrowd)
            found.append((*of, box, round(one.area), polygon))
    return sorted(found)


@pytest.fixture(scope="module")
def truth(drawn, tmp_path_factory):
    """By split, read from COCO's own layout in the project's own words."""
    folder = tmp_path_factory.mktemp("truth")
    writers.coco(drawn, folder, "")
    return {split: read_split(folder, split) for split in ("train", "val")}


@pytest.mark.parametrize("layout", writers.SPLIT)
def test_a_layout_with_splits_is_read_as_cocos_own(layout, drawn, truth, tmp_path):
    name, write = writers.SPLIT[layout]
    write(drawn, tmp_path / "data")
    seen = sorted({one[2] for one in objects(*truth.values())})  # labelme has no list of classes
    names = seen if layout == "labelme" else drawn.names
    for split in ("train", "val"):
        found = read_split(tmp_path / "data", split)
        assert objects(found) == objects(truth[split])
        assert [c.name for c in found.categories] == names
        assert {image.path.name for image in found.images} == {
            image.path.name for image in truth[split].images
        }
    assert load_coco(tmp_path / "data").told == f"{name} layout, 4 val, {len(names)} classes"


@pytest.mark.parametrize("layout", writers.UNSPLIT)
def test_a_layout_without_splits_gives_a_share_to_val(layout, drawn, truth, tmp_path, caplog):
    name, write = writers.UNSPLIT[layout]
    write(drawn, tmp_path / "data")
    source = DataSource(tmp_path / "data", val_share=0.4)
    train, val = read_split(source, "train"), read_split(source, "val")
    assert objects(train, val) == objects(*truth.values())
    names = [{image.path.name for image in split.images} for split in (train, val)]
    assert names[0]
    assert not names[0] & names[1]
    assert names[1] == names_of_split(names[0] | names[1], "val", 0.4)
    assert [c.name for c in val.categories] == [c.name for c in train.categories] == drawn.names
    told = f"{name} layout, {len(names[1])} val, {len(drawn.names)} classes; "
    told += "no val split, so names decide: about 40%"
    assert load_coco(source).told.startswith(told)
    assert ("found by name" in caplog.text) == (layout == "Windows paths")
    assert ("as VIA writes them" in caplog.text) == (layout == "VIA")
    assert objects(read_split(DataSource(tmp_path / "data", val_share=1), "val")) == objects(
        *truth.values()
    )


def test_a_pair_is_read_as_it_is_named(drawn, truth, tmp_path):
    writers.write(tmp_path / "labels" / "x.json", drawn.splits["train"])
    drawn.copy_pictures(tmp_path / "photographs", "train")
    pair = DataSource(tmp_path / "photographs", tmp_path / "labels" / "x.json", val_share=1)
    assert objects(read_split(pair, "val")) == objects(truth["train"])
    writers.write(tmp_path / "val.json", drawn.splits["val"])
    drawn.copy_pictures(tmp_path / "others", "val")
    both = DataSource(
        pair.folder, pair.annotations, val=(tmp_path / "others", tmp_path / "val.json")
    )
    for split in ("train", "val"):
        assert objects(read_split(both, split)) == objects(truth[split])
    assert both.words.endswith(f"--val-annotations {tmp_path / 'val.json'}")


def test_the_val_share_of_a_name_is_the_same_everywhere():
    names = [f"photographs/{number}.jpg" for number in range(1000)]
    val = names_of_split(names, "val", 0.1)
    assert 80 < len(val) < 120
    assert names_of_split(names, "train", 0.1) == set(names) - val
    assert names_of_split(names[:50], "val", 0.1) == val & set(names[:50])
    # another hash would move pictures of runs that are under way from one split to the other
    assert names_of_split([f"{n}.jpg" for n in range(20)], "val", 0.1) == {"19.jpg"}
    assert len(names_of_split(["a.jpg", "b.jpg"], "val", 1e-9)) == 1


def test_a_share_where_there_is_a_val_split_is_refused(drawn, tmp_path):
    writers.roboflow(drawn, tmp_path)
    with pytest.raises(InputError, match=r"--val-share 0\.2 found; the Roboflow layout .* has"):
        read_split(DataSource(tmp_path, val_share=0.2), "train")
    with pytest.raises(InputError, match=r"no 'test' split; found Roboflow layout with train and"):
        read_split(tmp_path, "test")
    shutil.copytree(tmp_path / "valid", tmp_path / "test")
    assert len(read_split(tmp_path, "test").images) == 4


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_a_share_that_no_split_can_be_is_refused(tmp_path, share):
    with pytest.raises(InputError, match=f"--val-share {share:g}: expected a share"):
        DataSource(tmp_path, val_share=share)


def test_names_are_sought_in_the_split_alone_and_must_fit_one_picture(drawn, tmp_path, caplog):
    writers.coco(drawn, tmp_path, "")
    file = tmp_path / "annotations" / "instances_val.json"
    raw = json.loads(file.read_text())
    first = raw["images"][0]["file_name"]
    raw["images"][0]["file_name"] = f"/home/me/{first}"
    writers.write(file, raw)
    with caplog.at_level(logging.WARNING):
        found = read_split(tmp_path, "val")
    assert found.images[0].path == tmp_path / "val" / first
    assert "1 of 4 pictures are not where file_name says: found by name, e.g. /home" in caplog.text
    (tmp_path / "val" / "b").mkdir()
    shutil.copy(tmp_path / "val" / first, tmp_path / "val" / "b" / first)
    with pytest.raises(InputError, match=rf"file_name is '/home/me/{first}', which fits .* and b/"):
        read_split(tmp_path, "val")
    (tmp_path / "val" / first).rename(tmp_path / "train" / first)
    raw["images"][0]["file_name"] = f"D:\\b\\{first}"
    writers.write(file, raw)
    assert read_split(tmp_path, "val").images[0].path == tmp_path / "val" / "b" / first


UNKNOWN = {
    "nothing": (lambda folder: None, r"found nothing; nearest is single JSON"),
    "pictures": (
        lambda folder: (folder / "1.jpg").touch(),
        r"found 1\.jpg; nearest is labelme: a JSON beside each picture \(others: COCO, Rob",
    ),
    "VIA's project": (
        lambda folder: writers.write(folder / "via.json", {"_via_img_metadata": {}}),
        r"found via\.json \(a project of VIA.*\); .*\. Export COCO's format from the tool\.",
    ),
    "Label Studio": (
        lambda folder: writers.write(folder / "t.json", [{"data": {}, "annotations": []}]),
        r"found t\.json \(tasks of Label Studio.*\. Export COCO's format from the tool\.",
    ),
    "broken": (
        lambda folder: (folder / "labels.json").write_text("{"),
        r"labels\.json \(no whole JSON\)",
    ),
    "Roboflow without labels": (
        lambda folder: [(folder / name).mkdir() for name in ("train", "valid")],
        r"found train/, valid/; nearest is Roboflow: train/_annotations\.coco\.json",
    ),
    "CVAT without labels": (
        lambda folder: [(folder / name).mkdir() for name in ("annotations", "images")],
        r"nearest is CVAT: annotations/instances_default\.json with images/",
    ),
    "COCO without labels": (
        lambda folder: (folder / "train2017").mkdir(),
        r"nearest is COCO: annotations/instances_train\.json with train/",
    ),
    "YOLO without names": (
        lambda folder: (folder / "labels").mkdir(),
        r"found labels/; nearest is YOLO: data\.yaml with images/ and labels/",
    ),
    "predictions": (
        lambda folder: writers.write(folder / "p.json", [{"image_id": 1}]),
        r"p\.json \(a list, as predictions are\)",
    ),
}


@pytest.mark.parametrize(("fill", "words"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_layout_says_what_is_there_and_what_is_nearest(tmp_path, fill, words):
    fill(tmp_path)
    with pytest.raises(InputError, match=rf"no known layout; .*{words}"):
        read_split(tmp_path, "val")


def test_two_files_that_could_be_either_are_refused(drawn, tmp_path):
    for name in ("a.json", "b.json"):
        writers.write(tmp_path / name, drawn.merged())
    with pytest.raises(InputError, match=r"a\.json and b\.json are both COCO annotations; "):
        read_split(tmp_path, "val")


def test_annotations_are_known_by_their_file_or_by_what_was_read(drawn, tmp_path):
    """A run that goes on must not see others: neither another share nor changed labels."""
    writers.coco(drawn, tmp_path / "coco")
    file = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    assert read_split(tmp_path / "coco", "val").sha256() == sha256_of(file)
    writers.labelme_apart(drawn, tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there, other = (
        read_split(DataSource(tmp_path / name, val_share=share), "train")
        for name, share in (("here", 0.4), ("there", 0.4), ("here", 0.2))
    )
    assert here.sha256() == there.sha256() != other.sha256()
    labelled = there.annotations[0].image_id
    (picture,) = (image.path for image in there.images if image.image_id == labelled)
    label = tmp_path / "there" / "labels" / f"{picture.stem}.json"
    raw = json.loads(label.read_text())
    writers.write(label, {**raw, "shapes": raw["shapes"][1:]})
    changed = read_split(DataSource(tmp_path / "there", val_share=0.4), "train")
    assert changed.sha256() != here.sha256()


def test_a_backslash_in_a_name_is_a_letter_where_a_file_has_it(tmp_path):
    (tmp_path / "a\\b.jpg").touch()
    (tmp_path / "b.jpg").touch()
    pictures = PictureFiles(tmp_path)
    assert pictures.find("a\\b.jpg") == tmp_path / "a\\b.jpg"
    assert pictures.find("c\\b.jpg") == tmp_path / "b.jpg"
    assert pictures.find("../../none.jpg") == tmp_path / "none.jpg"
    assert pictures.moved == [("c\\b.jpg", tmp_path / "b.jpg")]
