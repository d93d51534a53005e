"""The page in a real browser: what `predict` gives, and numbers as the runtime counts them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrt.runtime.contract import Contract
from maskrt.runtime.pictures.preprocess import place_on_canvas, read_image
from maskrt.runtime.results.postprocess import instances_from_outputs
from maskrt.serving.page.page import write_page
from maskrt.tools.page.agreement import Counts, compare, found_in
from maskrt.tools.page.chromium import Browser, static_server

from ..service.conftest import Start, png

SHOWN = "/shown/.test(document.querySelector('.said').textContent)"
PROBLEM = "document.querySelector('#problem').textContent"
FOUND_OF = """
(async () => {{
  const {{ instancesFromOutputs }} = await import("./maskrt.js");
  const outputs = {outputs};
  for (const name of ["windows", "boxes", "scores", "masks"])
    if (outputs[name]) outputs[name] = new Float32Array(outputs[name]);
  const found = instancesFromOutputs(outputs, {contract}, {hw}, {valid});
  return found.map((one) => ({{ ...one, mask: {{ ...one.mask, data: one.mask.data.join("") }} }}));
}})()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The page's own files, on no server of ours."""
    folder = Path(write_page.__code__.co_filename).parent
    with static_server(folder, {}) as url:
        yield url


def test_the_page_behind_the_service_shows_names_and_refuses(
    start: Start, chromium: Browser, tmp_path: Path
) -> None:
    (tmp_path / "whole.png").write_bytes(png(200))
    (tmp_path / "cut.png").write_bytes(png(200)[:40])
    with start(token="secret") as running:
        chromium.open(running.url)
        chromium.wait("document.querySelectorAll('#token:not([hidden])').length")
        chromium.run("document.querySelector('#token input').value = 'secret'")
        chromium.run("document.querySelector('#token button').click()")
        chromium.wait("document.querySelectorAll('.pane').length")
        found, _ = found_in(chromium, tmp_path / "whole.png")
        counts = Counts()
        compare(running.predictor.predict([read_image(tmp_path / "whole.png")])[0], found, counts)
        assert (counts.instances, counts.equal_masks, counts.extra) == (2, 2, 0)
        chromium.run("document.querySelector('#most').focus()")
        for _ in range(2):  # past the model's box, to the first instance of the list
            chromium.press("Tab", 9)
        assert chromium.run("document.querySelector('figcaption').textContent") == "star 0.78"
        assert not chromium.run("document.querySelector('figcaption').hidden")
        chromium.run("document.querySelector('#score').focus()")
        chromium.press("End", 35)
        assert chromium.run("document.querySelectorAll('.found button').length") == 0
        chromium.choose("#file", tmp_path / "cut.png")
        assert "reads no picture from it (40 bytes)" in chromium.wait(PROBLEM)
    own = [error for error in chromium.errors if " 401 " not in error]
    assert not own


@pytest.mark.parametrize("hw", [(48, 64), (33, 20), (7, 5), (70, 41)])
def test_the_script_places_pictures_as_the_runtime_does(
    hw: tuple[int, int], tiny_contract: Contract, chromium: Browser, address: str
) -> None:
    contract = dataclasses.replace(tiny_contract, batch=1)
    image = np.random.default_rng(3).integers(0, 256, (*hw, 3), dtype=np.uint8)
    rgba = np.dstack([image, np.full(hw, 255, np.uint8)])
    chromium.open(f"{address}maskrt.js")
    found = chromium.run(
        f"""import("./maskrt.js").then(({{ placedOnCanvas }}) => {{
          const pixels = new Uint8ClampedArray({rgba.ravel().tolist()});
          const found = placedOnCanvas(pixels, {list(hw)}, {contract.to_json()});
          return {{ canvases: [...found.canvases], valid: found.valid }};
        }})"""
    )
    canvases, sizes = place_on_canvas([image], contract)
    assert found["valid"] == sizes[0].tolist()
    assert found["canvases"] == canvases.ravel().tolist()


@pytest.mark.parametrize("task", ["instances", "proposals"])
def test_the_script_pastes_masks_as_the_runtime_does(
    task: str, tiny_contract: Contract, chromium: Browser, address: str
) -> None:
    proposes = task == "proposals"
    specs = [
        dataclasses.replace(spec, shape=(2, 6, 9, 9)) if spec.name == "masks" else spec
        for spec in tiny_contract.outputs
    ]
    contract = dataclasses.replace(
        tiny_contract,
        task="proposals" if proposes else "instances",
        outputs=tuple(specs),
        class_names=("object",) if proposes else tiny_contract.class_names,
        mask_upsampling=4 if proposes else 1,
        mask_threshold=0.2 if proposes else 0.5,
    )
    outputs = _outputs(proposes)
    expected = instances_from_outputs(outputs, 0, (70, 101), (30, 43), contract)
    chromium.open(f"{address}maskrt.js")
    found = chromium.run(
        FOUND_OF.format(
            outputs=json.dumps(
                {
                    name: value[0].ravel().tolist()
                    for name, value in outputs.items()
                    if name != "counts"
                }
                | {"counts": [6]}
            ),
            contract=contract.to_json(),
            hw=[70, 101],
            valid=[30, 43],
        )
    )
    assert len(found) == len(expected) > 2
    counts = Counts()
    compare(expected, found, counts)
    assert (counts.equal_masks, counts.extra) == (len(expected), 0)
    boxes = [one["box"] for one in found]
    np.testing.assert_allclose(boxes, expected.boxes, rtol=1e-6)


def _outputs(proposes: bool) -> dict[str, Any]:
    """Six random slots; one box is empty, some reach outside."""
    random = np.random.default_rng(5)
    boxes = random.uniform(-5, 20, (1, 6, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., :2] + random.uniform(3, 30, (1, 6, 2)).astype(np.float32)
    boxes[0, 5] = (4, 4, 4, 9)
    return {
        "windows" if proposes else "boxes": boxes,
        "scores": np.linspace(0.9, 0.1, 6, dtype=np.float32)[None],
        "labels": np.array([[0, 1, 0, 1, 0, 1]], np.int32),
        "masks": random.uniform(0, 1, (1, 6, 9, 9)).astype(np.float32),
        "counts": np.array([6], np.int32),
    }


def test_a_page_without_its_runtime_says_so(
    write_onnx: Callable[[str | None], Path],
    tiny_contract: Contract,
    chromium: Browser,
    tmp_path: Path,
) -> None:
    write_page([write_onnx(tiny_contract.to_json())], tmp_path / "page")
    file = tmp_path / "page" / "page.json"
    file.write_text(file.read_text().replace("https://cdn.jsdelivr.net/npm/", "gone/"))
    (tmp_path / "picture.png").write_bytes(png(200))
    with static_server(tmp_path / "page", {}) as url:
        chromium.open(url)
        chromium.wait("document.querySelectorAll('.pane').length")
        chromium.choose("#file", tmp_path / "picture.png")
        said = chromium.wait(
            "/expected/.test(document.querySelector('.said').textContent) && "
            "document.querySelector('.said').textContent"
        )
    assert "gone/onnxruntime-web@" in said
    assert said.endswith("Serve the whole folder, or look at the connection.")
