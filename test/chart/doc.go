// Package chart holds the tests of the Helm chart that need no node: what it renders, which values it
// refuses, that the components understand what it tells them, and, on a real API server, what its roles and
// admission policies let whom do.
package chart
