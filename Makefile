# Two commands on a bare machine with Python 3.11: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check format docs clean

demo: $(READY)
	$(BIN)/maskrt demo --out out/demo

test: $(READY) build/link/maskrt
	$(BIN)/python -m pytest -q

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
