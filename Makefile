.DEFAULT_GOAL := help
.PHONY: help deps demo demo-down test test-pure test-vm test-k8s lint format bench bench-backends shim bundle image

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

deps: ## install missing Debian and npm packages
	@scripts/deps

shim: ## compile the CNI executables into dist/
	@scripts/deps run
	@scripts/build-shim

bundle: ## bundle the program into dist/, to run without src/ and node_modules/
	@scripts/deps run
	@scripts/build-bundle

image: ## build the container image, an OCI archive, into dist/image/
	@scripts/deps run
	@scripts/image

demo: shim ## start a three-node cluster with pods and leave it running
	@scripts/demo

demo-down: ## remove the demo's cluster completely
	@bin/flatnet lab down

test: deps shim ## run all tests, in less than an hour; the kernel tests need root
	@scripts/test

test-pure: shim ## run only the tests that need neither kernel nor root
	@scripts/test pure

test-vm: shim ## run only the tests that need kernel modules, in a virtual machine if this kernel lacks them
	@scripts/test vm

test-k8s: deps shim ## run only the tests that need components of Kubernetes, which Go builds first
	@scripts/test k8s

lint: shim ## check formatting, lint rules and types
	@scripts/lint

format: shim ## format all files
	@node_modules/.bin/biome check --write .

bench: deps shim ## run the benchmarks
	@scripts/bench

bench-backends: deps shim ## compare every way to carry packets, and udp with flannel's own program, which Go builds first
	@scripts/flanneld >/dev/null || :
	@scripts/bench backends
