.PHONY: serve test check unit conformance interop deployment faults collection-scale bench lock clean

serve: ## set up and run the registry (ARGS="--storage-dir DIR --listen ADDRESS:PORT")
	@scripts/setup run
	@.venv/bin/ferro-oci-server serve $(ARGS)

test: ## set up and run every check and every test, real clients included
	@scripts/test

check: ## style, types, layers
	@scripts/check

unit: ## the tests that need no registry clients
	@scripts/setup dev
	@scripts/install-clients strace nginx versitygw postgres
	@.venv/bin/python -m pytest --ignore tests/interop --ignore tests/deployment

conformance: ## the official conformance program, all versions and all ways to serve
	@scripts/setup dev
	@scripts/conformance

interop: ## docker, containerd, podman, buildah, skopeo, crane, regctl, oras, helm and cosign
	@scripts/setup dev
	@scripts/interop

deployment: ## what deploy/ has: lint it, build the image, run it confined, render the chart
	@scripts/setup dev
	@scripts/deployment

faults: ## kill the server at every step, let requests meet, and print the matrix (ARGS="--kills 1600 --soak 20")
	@scripts/setup dev
	@scripts/faults $(ARGS)

collection-scale: ## what collecting garbage costs among a million references, and what pushes and pulls notice (ARGS="--rounds 60")
	@scripts/setup dev
	@scripts/collection-scale $(ARGS)

bench: ## measure it beside other registries, and write docs/benchmarks (ARGS="--quick" or "--only reads --subjects files")
	@scripts/setup dev
	@scripts/bench $(ARGS)

lock: ## pin the dependencies anew
	@scripts/setup dev
	@scripts/lock

clean: ## remove what was built
	@rm -rf .venv .venv-bench .venv-deploy build dist
