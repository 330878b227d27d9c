# make demo: the miniature study, from nothing to its table and page.  make test: the whole check.  make lint: ruff, mypy, biome.
# make real-small: language models of the package index (experiments/real, which tells what of it has been run); make real: all of it.
# make docs: the documentation, strictly, into site/.
# make tables: every experiment's miniature twin, and its measured table in experiments/<name>/mini.csv.
# make worlds: the miniature trained from four other seeds, and strangers of another build, two at a time; repeat it to go on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What pip would say of it says neither what to do nor that .venv stays with the old one.
NEW_ENOUGH := import sys; sys.version_info < (3, 11) and sys.exit( \
  "Python %d.%d is too old, l2v needs 3.11 or newer: make demo PYTHON=python3.12" % sys.version_info[:2])

CHECKPOINTS := outputs/checkpoints
TWINS := table1 table2 controls source_scale fig2 fig4 fig5 fig6 fig7a fig7b prompt_method

WORLDS := 1 2 3 4
TRAIN := $(BIN)/python -m l2v.mini.train --missing --threads 1
PROSE := outputs/prose.jsonl
MODELS := smollm2 smollm2_noisy gemma3_270m smol_reader

.PHONY: demo test lint docs tables worlds real real-small clean

demo: $(INSTALLED)
	$(BIN)/l2v run --multirun +experiment=demo executor=processes executor.workers=2

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

tables: $(INSTALLED) $(CHECKPOINTS)/mini_sft $(CHECKPOINTS)/mini_drifted_sft $(CHECKPOINTS)/mini_reasoner
	for name in $(TWINS); do \
	  $(BIN)/l2v run --multirun +experiment=$${name}_mini && \
	  $(BIN)/l2v report +experiment=$${name}_mini out=experiments/$$name/mini.csv >/dev/null || exit 1; \
	done

real-small: $(INSTALLED) $(patsubst %,$(CHECKPOINTS)/%,$(filter-out smol_reader,$(MODELS)))
	$(BIN)/l2v run --multirun +experiment=real_small

real: $(INSTALLED) $(MODELS:%=$(CHECKPOINTS)/%) $(PROSE)
	$(BIN)/l2v run --multirun +experiment=real executor=processes executor.workers=2

$(PROSE): $(INSTALLED)
	test -s $@ || { $(BIN)/python experiments/maps/prose.py 1000 > $@.part && mv $@.part $@; }

$(MODELS:%=$(CHECKPOINTS)/%): $(INSTALLED)
	test -d $@ || $(BIN)/l2v convert model=$(@F)

$(CHECKPOINTS)/%_sft: $(INSTALLED)
	test -d $@ || $(BIN)/l2v finetune target=$* +finetune=mini finetune.out=$@

$(CHECKPOINTS)/mini_reasoner: $(INSTALLED)
	test -d $@ || $(BIN)/l2v finetune source=mini_base finetune.model=source +finetune=mini finetune.out=$@

# The longest first, in pieces that two cores share alike.
worlds: $(INSTALLED)
	$(MAKE) --no-print-directory --jobs 2 $(WORLDS:%=targets-%) odd-a odd-b $(WORLDS:%=strangers-%)

targets-%: $(INSTALLED)
	$(TRAIN) --world $* --out outputs/worlds/$* --models base,vlm,vlm_drifted,kin

strangers-%: $(INSTALLED)
	$(TRAIN) --world $* --out outputs/worlds/$* --models stranger_a,stranger_b

odd-%: $(INSTALLED)
	$(TRAIN) --world odd --out outputs/worlds/odd --models stranger_$*

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/biome check

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { $(PYTHON) -c '$(NEW_ENOUGH)' && $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
# pip compiles on one core, this on all of them; this package too, for processes that may write no bytecode.
	-cd $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  $(abspath $(BIN))/python -m compileall -q -j 0 -x '/tests?/' . $(CURDIR)/l2v $(CURDIR)/hydra_plugins
	touch $@

clean:
	rm -rf $(VENV)
