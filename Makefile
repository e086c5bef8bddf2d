# One command each. Everything is installed into .venv from the lock file.
.PHONY: install vendor demo demo-clean test audit image-check soak lint format docs site screenshots clients lock bench bench-sharing bench-pool bench-makespan bench-webhook bench-diagnosis bench-badge

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/make.py --check
	$(BIN)/python -m web.vendor --check

# Codex, Wikimedia's design system, from npm into web/static/codex; pinned in web/vendor.py.
vendor: install
	$(BIN)/python -m web.vendor

# The parts of the documents that are made from the code, then all of them as a site, in build/site.
docs: install
	$(BIN)/python docs/make.py
	$(MAKE) site

SITE := $(CURDIR)/.docs

site: $(SITE)/.installed
	$(SITE)/bin/mkdocs build --strict

$(SITE)/.installed: docs/requirements.txt
	python3 -m venv $(SITE)
	$(SITE)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.txt
	touch $@

# The pictures of docs/pages.md, taken by Debian's chromium.
screenshots: install
	$(BIN)/python -m docs.screenshots

# Ctrl-C ends it; started again it goes on where it was.
demo: install
	$(BIN)/toolforge-preview demo

demo-clean: install
	$(BIN)/toolforge-preview demo --clean

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Toolforge's own command-line clients, each in an environment of its own: they need other libraries than
# we do. Tests that use them are skipped, and say so, where they are not installed.
CLIENTS := $(CURDIR)/.clients
export TOOLFORGE_CLIENTS ?= $(CLIENTS)/jobs/bin:$(CLIENTS)/builds/bin:$(CLIENTS)/components/bin

clients: $(CLIENTS)/.installed

$(CLIENTS)/.installed: Makefile
	python3 -m venv $(CLIENTS)/jobs
	$(CLIENTS)/jobs/bin/pip install --quiet --disable-pip-version-check \
	    toolforge-jobs-cli==16.2.3 toolforge-envvars-cli==0.0.15
	python3 -m venv $(CLIENTS)/builds
	$(CLIENTS)/builds/bin/pip install --quiet --disable-pip-version-check toolforge-builds-cli==0.0.24
	python3 -m venv $(CLIENTS)/components
	$(CLIENTS)/components/bin/pip install --quiet --disable-pip-version-check toolforge-components-cli==0.0.15
	touch $@

# Whether weaknesses are known of the locked packages; needs PyPI's advisories (exit 3, and says so, without
# them), so it is no part of `test`. In an environment of its own, that the product has no more packages.
AUDIT := $(CURDIR)/.audit

audit: $(AUDIT)/.installed
	@$(AUDIT)/bin/pip-audit --disable-pip --require-hashes --requirement requirements.lock \
	    --progress-spinner off --format json 2>/dev/null | $(AUDIT)/bin/python .ci/audit.py

$(AUDIT)/.installed: Makefile
	python3 -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	touch $@

# Builds the container image twice, as root and without an engine, and looks into it; needs Debian's buildah and
# debootstrap, and takes minutes, so it is no part of `test`.
image-check:
	.ci/image

# On another database than SQLite: what uses one is run again, on a server of the tests' own.
DATABASE ?= sqlite
# Folders or files; none: all.
TESTS ?=

test: install
	$(BIN)/pytest --database $(DATABASE) --numprocesses 2 --dist loadfile $(TESTS)

# The machine-independent locks: every version with its hashes. Needs `uv` on PATH. requirements.txt, a part of
# requirements.lock, is what a service needs; Toolforge's build service installs it.
lock:
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
	    --custom-compile-command "make lock" --no-emit-package toolforge-preview -o requirements.lock --quiet
	uv pip compile pyproject.toml --extra mariadb --extra postgresql --extra sentry --universal --generate-hashes \
	    --python-version 3.11 --constraints requirements.lock --custom-compile-command "make lock" \
	    --no-annotate --no-emit-package toolforge-preview -o requirements.txt --quiet
	uv pip compile --group docs --universal --generate-hashes --python-version 3.11 \
	    --custom-compile-command "make lock" --no-annotate -o docs/requirements.txt --quiet

# What one preview costs us, in calls and CPU time, and how many a second this machine carries.
bench: install
	$(BIN)/python -m bench.overhead

# What it gains that check-only deployments share accounts; what leases cost in large pools and old databases.
bench-sharing: install
	$(BIN)/python -m bench.sharing

bench-pool: install
	$(BIN)/python -m bench.pool

# A storm of merge requests against the least time that is possible, and against other ways of working.
bench-makespan: install
	$(BIN)/python -m bench.makespan

# How many logs of failures are told with their cause, and what that costs.
bench-diagnosis: install
	$(BIN)/python -m bench.diagnosis

# How long GitLab waits for the answer to a delivery in a storm of them.
bench-webhook: install
	$(BIN)/python -m bench.webhook

# Storms through all processes while everything fails at random, and whether all is true and clean in the end.
MINUTES ?= 10

soak: install
	$(BIN)/python -m bench.soak --minutes $(MINUTES)

# How many badges a second two processes serve, beside bare Flask.
bench-badge: install
	$(BIN)/python -m bench.badge
