//go:build tools

// Package tools pins the CNI plugin portmap, which the node image brings along: hostPorts need it, and not every host
// has it. It is a module of its own, so that its code stays out of the product's graph.
package tools

import _ "github.com/containernetworking/plugins/plugins/meta/portmap"
