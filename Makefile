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
images: ## build the product's images as OCI archives in .cache/images (VERSION= I="node typha …")
	@go run ./test/images/cmd/images -version=$(or $(VERSION),dev) $(I)
