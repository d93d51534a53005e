import numpy as np
import pytest

from maskrt.eval.coco.predictions import (
    coco_rows,
    predict_data,
    prediction_from_instances,
)
from maskrt.runtime.errors import InputError
from maskrt.runtime.results.instances import Instances


def test_instances_are_kept_in_order_of_falling_score():
    instances = Instances(
        image_hw=(40, 50),
        boxes=np.array([[0, 0, 10, 10], [20, 20, 40, 30]], np.float32),
        scores=np.array([0.3, 0.7], np.float32),
        labels=np.array([0, 1], np.int32),
        mask_probs=np.ones((2, 7, 7), np.float32),
        class_names=("a", "b"),
    )
    prediction = prediction_from_instances(5, instances)
    assert prediction.scores.tolist() == pytest.approx([0.7, 0.3])
    assert prediction.labels.tolist() == [1, 0]
    assert prediction.boxes[0].tolist() == [20, 20, 40, 30]
    assert prediction.rles[0] == instances.rles()[1]


@pytest.mark.parametrize("batch", [1, 2])
def test_every_picture_is_predicted_once_in_order(data, scripted, batch):
    found = predict_data(scripted(batch=batch), data, progress=False)
    assert [prediction.image_id for prediction in found] == [11, 12, 13]
    assert all(len(prediction) == 1 for prediction in found)
    assert np.allclose(found[0].boxes, [[60, 40, 110, 100]])


def test_the_progress_bar_leaves_standard_output_alone(data, scripted, capsys):
    predict_data(scripted(), data)
    assert capsys.readouterr().out == ""


def test_a_model_of_other_classes_is_refused(data, scripted):
    with pytest.raises(InputError, match="categories do not match the classes of scripted"):
        predict_data(scripted(names=("cat", "dog")), data, progress=False)


def test_proposals_are_asked_for_no_classes_and_keep_their_windows(data, proposing):
    found = predict_data(proposing(), data, progress=False)
    assert [len(prediction) for prediction in found] == [1, 1, 1]
    assert found[0].frames.tolist() == [[60, 40, 110, 100]]
    assert found[0].boxes.tolist() == [[60, 40, 110, 100]]
    assert found[0].labels.tolist() == [0]


def test_windows_are_kept_in_order_of_falling_score():
    instances = Instances(
        image_hw=(40, 50),
        boxes=np.array([[0, 0, 10, 10], [20, 20, 40, 30]], np.float32),
        scores=np.array([0.3, 0.7], np.float32),
        labels=np.zeros(2, np.int32),
        mask_probs=np.ones((2, 7, 7), np.float32),
        class_names=("object",),
        frames=np.array([[0, 0, 11, 11], [20, 20, 41, 31]], np.float32),
    )
    assert prediction_from_instances(5, instances).frames[0].tolist() == [20, 20, 41, 31]


def test_rows_hold_coco_ids_and_xywh(predict):
    rows = coco_rows(predict([(12, 1, 5, 6, 10, 20, 0.5)]), (3, 7))
    assert len(rows) == 1
    assert rows[0]["category_id"] == 7
    assert rows[0]["image_id"] == 12
    assert rows[0]["bbox"] == [5, 6, 10, 20]
    assert rows[0]["segmentation"]["size"] == [200, 240]
