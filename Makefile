# Two commands on a bare machine with Python 3.11: `make demo` and `make test`. Both set up .venv first. On a machine with an NVIDIA GPU
# also `make gpu`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo gpu test check format docs clean

demo: $(READY)
	$(BIN)/maskrt demo --out out/demo

# All that only an NVIDIA GPU can show, from where it was left. `make gpu PYTHON=python3` takes that Python as it is and installs nothing;
# STAGES names some of the stages.
GPU_PYTHON := $(if $(filter file,$(origin PYTHON)),build/gpu/bin/python,$(PYTHON))
gpu: build/link/maskrt $(if $(filter file,$(origin PYTHON)),build/gpu/.ready)
	PYTHONPATH="$(CURDIR)/build/link" $(GPU_PYTHON) -m maskrt.tools.gpu $(STAGES)

# Apart from .venv: of the two ONNX Runtimes an environment holds one. What is measured goes on where TensorRT does not install.
GPU_PIP := build/gpu/bin/python -m pip install --quiet --disable-pip-version-check
build/gpu/.ready: pyproject.toml
	test -x build/gpu/bin/python || $$(command -v $(PYTHON) || command -v python3) -m venv build/gpu
	$(GPU_PIP) -e ".[train,engines,report,onnxruntime-gpu]" torchvision onnxscript cuda-python nvidia-ml-py pytest
	$(GPU_PIP) -e ".[gpu,onnxruntime-tensorrt]" || echo "TensorRT could not be installed: its rows will be missing."
	touch $@

# Two processes of one thread each, as two cores are least; a file stays in one, with its fixtures.
test: $(READY) build/link/maskrt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

# Not part of `test`: what Python 3.10, 3.12 or 3.13 is for, in an environment of its own (`make test-3.10`).
test-3.%: $(READY)
	$(BIN)/python -m maskrt.tools.try_python 3.$*

check: $(READY) build/link/maskrt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first and alone: pip then takes its CPU build where the index has one. A CUDA build brings the
# Triton that torch.compile needs, which stays; elsewhere it is the one of the shipped kernels.
$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip show --quiet triton 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check triton==3.6.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# mypy resolves the package through this link: the repository root is `maskrt`.
build/link/maskrt:
	mkdir -p build/link
	ln -sfn "$(CURDIR)" $@

# The pages into build/site; those of docs/reference are made from the parser and the docstrings.
docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/python -m maskrt.tools.reference docs/reference
	$(BIN)/zensical build --clean --strict

clean:
	rm -rf build out $(VENV)
