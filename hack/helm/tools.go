//go:build tools

// Package tools pins the helm command that installs the chart in the test
// cluster. It is a module of its own, so that helm's dependencies stay out of
// the product's graph.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
