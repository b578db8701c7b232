# Every target makes its own environment first: Python 3.11 or later and the package index are all it takes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: quickstart test slow bars prove fuzz index macs golden cover topics matrix refusals awkward applications
.PHONY: bundles imagenet pictures docs lint format clean

quickstart: $(READY)
	$(BIN)/kerasdl quickstart
	$(BIN)/kerasdl quickstart --data digits --out quickstart/digits

test: $(READY)
	$(BIN)/python -m pytest -m "not slow and not bars" -n 2 --dist loadfile --lanes

slow: $(READY)
	$(BIN)/python -m pytest -m "slow and not bars" -n 2 --dist loadfile --lanes

# The longest bars: three seeds of the quickstart, twenty kills, recipes of minutes. Neither lane holds them.
bars: $(READY)
	$(BIN)/python -m pytest -m bars -n 2 --dist loadfile

# Every row for NAMES="...", for what changed SINCE=commit, or for all; the lanes export a cover of the nets alone.
prove: $(READY)
	$(BIN)/python tools/prove.py --names "$(NAMES)" --since "$(SINCE)"

# Half an hour of random nets and data: each is right, or refused by name.
fuzz: $(READY)
	$(BIN)/python tools/fuzz.py

# What is generated from the registry and the code.
index: $(READY)
	$(BIN)/python -m kerasdl.core.registry.indexing
macs: $(READY)
	$(BIN)/python tools/make_macs.py
# For NAMES="...", or for all.
golden: $(READY)
	$(BIN)/python tools/make_golden.py $(NAMES)
cover: $(READY)
	$(BIN)/python tools/make_cover.py
topics: $(READY)
	$(BIN)/python tools/make_topics.py
	$(BIN)/python tools/make_learn.py
matrix: $(READY)
	$(BIN)/python tools/make_matrix.py
refusals: $(READY)
	$(BIN)/python tools/list_refusals.py
awkward: $(READY)
	$(BIN)/python tools/make_awkward.py
applications: $(READY)
	$(BIN)/python tools/make_applications.py
bundles: $(READY)
	$(BIN)/python tools/make_bundles.py
imagenet: $(READY)
	$(BIN)/python tools/make_imagenet_bundle.py

pictures: $(READY)
	$(BIN)/python tools/make_schedules.py
	$(BIN)/python tools/make_run_pictures.py
	$(BIN)/python tools/make_sweep_picture.py
	$(BIN)/python tools/make_augment_picture.py
	$(BIN)/python tools/make_detection_pictures.py
	$(BIN)/python tools/make_forecast_pictures.py
	$(BIN)/python tools/make_alignment_picture.py

# The site of the docs, in site/.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

$(READY): requirements.lock setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

clean:
	rm -rf .venv build dist site *.egg-info quickstart
