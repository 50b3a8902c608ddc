# make help lists what there is. A test cluster's parameters, with their defaults:
NAME    ?= dev
NODES   ?= 3
SUBNETS ?= 1
IP      ?= dual
CNI     ?= none

CLUSTER = go run ./test/cluster/cmd/cluster --name=$(NAME)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: cluster-up cluster-down cluster-shell cluster-logs
cluster-up: ## bring a Kubernetes up on this machine (NAME= NODES= SUBNETS= IP=ipv4|ipv6|dual CNI=none|ptp)
	@$(CLUSTER) up --nodes=$(NODES) --subnets=$(SUBNETS) --ip=$(IP) --cni=$(CNI)
cluster-down: ## remove it and all it left behind (NAME=)
	@$(CLUSTER) down
cluster-shell: ## open a shell in a node, in tor or in the router (NAME= NODE=)
	@$(CLUSTER) shell $(or $(NODE),node1)
cluster-logs: ## follow the logs of its components (NAME=)
	@$(CLUSTER) logs
.PHONY: cluster-dump redeploy images
cluster-dump: ## write down objects, logs and the network of every node (NAME=)
	@$(CLUSTER) dump
redeploy: ## rebuild a component and put it into the running cluster (NAME= C=felix|typha|…)
	@$(CLUSTER) redeploy $(C)
images: ## build the product's images and their SBOMs in .cache/images (VERSION= I="node …" REFRESH=1: newest Debian)
	@go run ./test/images/cmd/images -version=$(or $(VERSION),dev) $(if $(REFRESH),-refresh) $(I)

.PHONY: demo test fuzz test-unit test-kernel test-cluster test-long test-conformance bench generate lint
demo: ## bring a cluster up, install Maneki with Helm and show what it does (NAME=demo)
	@go run ./test/demo/cmd/demo $(if $(filter command line,$(origin NAME)),-name=$(NAME))
test: ## every test, as continuous integration runs them
	@go run ./test/run
test-unit: ## tests that need nothing (PKG=./ipam/... RUN=TestName)
	@go run ./test/run $(if $(PKG),-pkg="$(PKG)") $(if $(RUN),-run="$(RUN)") unit
test-kernel: ## tests on the real kernel, in network namespaces (PKG= RUN=)
	@go run ./test/run $(if $(PKG),-pkg="$(PKG)") $(if $(RUN),-run="$(RUN)") kernel
test-cluster: ## tests on a real Kubernetes (RUN=; KEEP=1 leaves the cluster of a failed test standing)
	@go run ./test/run $(if $(RUN),-run="$(RUN)") cluster
fuzz: ## look for input that breaks a parser or validator, each for a while (PKG= TIME=1m)
	@go run ./test/run $(if $(PKG),-pkg="$(PKG)") $(if $(TIME),-fuzztime=$(TIME)) fuzz
test-long: ## every test with long random histories and more faults
	@go run ./test/run -long
test-conformance: ## the upstream NetworkPolicy tests of Kubernetes on a cluster of their own
	@go run ./test/conformance
bench: ## measure against named baselines, print ratios and write .cache/bench.json (RUN= RUNS=)
	@go run ./test/bench/cmd/bench $(if $(RUN),-run="$(RUN)") $(if $(RUNS),-runs=$(RUNS))
generate: ## regenerate deep copies, CRDs and the chart's copy of them
	@go generate ./...
lint: ## formatting, vet, staticcheck, generated files, go.mod
	@go run ./test/run checks
