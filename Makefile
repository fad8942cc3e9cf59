# Run `make` for the list of targets. The only thing asked of the machine is make and Python 3.11
# or newer; everything else goes into .venv, from the exact pins of requirements.txt.

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

# The first Python that is new enough. To name one yourself: make book PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done)

# A stamp is touched when its step has succeeded, so that nothing is done twice.
BOOK_TOOLS := $(VENV)/book-tools.stamp
EVERYTHING := $(VENV)/everything.stamp
BOOK := _build/book.stamp
BOOK_SOURCES := _config.yml $(shell find book notebooks -type f \
	-not -path '*/.*' -not -path '*/__pycache__/*' -not -path '*.chunks/*') \
	$(shell find src/initscope -name '*.py' -o -name '*.pyi' -o -name '*.js' 2>/dev/null)
EDITIONS := _build/editions.stamp

.PHONY: help book test chapters lint install reproduce profile-is-given compatibility bench serve \
	archive editions version address clean

help:
	@echo "make book        build the book from the committed notebooks     2 min the first time, then 30 s"
	@echo "                   -> _build/html/index.html"
	@echo "make test        build the book, check the code, run the tests    17 min, and 3 min to install"
	@echo "                   browser tests need Chromium; without it they are skipped, and it says so"
	@echo "make chapters    execute every chapter twice: from nothing with  3 min"
	@echo "                   the smoke profile, and as published, from its records"
	@echo "make lint        ruff, mypy and, of the JavaScript, tsc alone    25 s"
	@echo "make install     install everything into .venv, and stop         3 min, more if torch is slow"
	@echo "make reproduce PROFILE=smoke|cpu|gpu"
	@echo "                 execute the chapters again, then build the book"
	@echo "                   smoke: 3 min, nothing downloaded; cpu: 5 h on two cores; gpu: see the book"
	@echo "                   -> notebooks/, and what they measured in notebooks/results/;"
	@echo "                   every number beside the published one in _build/numbers.csv"
	@echo "make bench       print speed and memory, beside plain loops      25 min"
	@echo "make compatibility"
	@echo "                 GPT-2's stds under other versions of transformers 1 min"
	@echo "                 and the package under the oldest versions it admits;"
	@echo "                 and what TensorBoard, W&B and MLflow are told"
	@echo "make serve       show the book at http://127.0.0.1:$(PORT)/ (PORT=... for another port)"
	@echo "make archive     the book as one file to hand on, with its checksum, in _build/archive"
	@echo "make editions    the book as PDF and EPUB, in _build/editions     1 min; needs Chromium"
	@echo "make version     print the version"
	@echo "make address     bring the repository's address from _config.yml into the chapters"
	@echo "make clean       remove what was built and what tools cached; .venv and results stay"

book: $(BOOK)
	@echo "The book is in _build/html: open _build/html/index.html, or run 'make serve'."

# The book and the types need one core each, and neither needs the other.
test: $(EVERYTHING)
	@$(MAKE) --no-print-directory --jobs 2 $(BOOK) lint
	@echo "Running the tests: 17 minutes on two cores. The result is the last line."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal \
		-m "not chapter and not compatibility"

chapters: $(EVERYTHING)
	@echo "Executing the chapters: about 3 minutes on two cores. The result is the last line."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal \
		-m chapter tests/repository/test_notebooks.py

install: $(EVERYTHING)
	@echo "Everything is installed: .venv/bin/python -m initscope --help"

lint: $(EVERYTHING)
	@echo "Checking style and types: about 25 s. Silence is success."
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >$(VENV)/floors.txt || { cat $(VENV)/floors.txt; exit 1; }
	@if command -v tsc >/dev/null; then tsc --project tsconfig.json; \
	else echo "No tsc found: the JavaScript is not checked. README.md says how to install it."; fi

reproduce: profile-is-given $(EVERYTHING)
	@echo "Executing the chapters with the profile $(PROFILE); they replace those in notebooks/."
	@$(BIN)/python -m initscope reproduce --profile $(PROFILE)
	@$(MAKE) --no-print-directory book

# A target of its own, so that the answer comes before the installation.
profile-is-given:
	@case "$(PROFILE)" in smoke|cpu|gpu) ;; *) \
		echo "Say how much: make reproduce PROFILE=smoke (3 min), PROFILE=cpu (5 h on two cores)" \
		     "or PROFILE=gpu." >&2; exit 2;; esac

compatibility: $(EVERYTHING)
	@echo "Installing two other versions of transformers for a moment: about 1 minute."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto \
		-m compatibility tests/repository/test_transformers_versions.py \
		tests/repository/test_packaging.py tests/tracking/test_loggers.py

bench: $(EVERYTHING)
	@echo "Measuring speed and memory: about 25 minutes. The result is what is printed."
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

serve: $(BOOK)
	@echo "The book is at http://127.0.0.1:$(PORT)/ until you press Ctrl-C."
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

# One file to hand on: it opens from a folder, without a network.
archive: $(BOOK)
	@$(BIN)/python book/archive.py $(VERSION)

editions: $(EDITIONS)
	@echo "The editions are in _build/editions."

version:
	@echo $(VERSION)

address: $(EVERYTHING)
	@$(BIN)/python book/address.py

clean:
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests book -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "No Python 3.11 or newer found (tried: $(or $(PYTHON),python3 python3.11 ... python))." \
		     "Install one, or name it: make book PYTHON=/path/to/python" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu:" \
		     "apt-get install python3-venv" >&2; exit 2; }
	@echo "Making the virtual environment $(VENV): a few seconds."
	@"$(PYTHON)" -m venv $(VENV)

# The chapters are committed executed, so building the book needs neither torch nor the package.
$(BOOK_TOOLS): requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing the tools that build the book into $(VENV): about 1 minute."
	@$(BIN)/python -c 'import tomllib; \
		project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*project["optional-dependencies"]["book"], sep="\n")' > $(VENV)/book-tools.txt
	@$(BIN)/pip install --quiet -r $(VENV)/book-tools.txt -c requirements.txt
	@touch $@

$(EVERYTHING): $(BOOK_TOOLS)
	@echo "Installing torch, the package and the test tools into $(VENV): 2 minutes, more if" \
		"the download of torch is slow."
	@$(BIN)/pip install --quiet -r requirements.txt
	@$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

# Built from nothing every time: a partial build kept stale numbers and pages.
$(BOOK): $(BOOK_TOOLS) $(BOOK_SOURCES)
	@echo "Building the book: about 30 s."
	@rm -rf _build/html _build/.doctrees
	@$(BIN)/jupyter-book build . --config _config.yml --toc book/_toc.yml \
		-W -n --keep-going --all --quiet
	@touch $@

$(EDITIONS): $(BOOK)
	@echo "Making the PDF and the EPUB of the book: about 1 minute."
	@$(BIN)/python book/editions.py $(VERSION)
	@touch $@
