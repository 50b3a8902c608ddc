// Package chart holds the tests of the Helm chart that need no cluster: what it renders, which values it
// refuses, and that the components understand what it tells them.
package chart
