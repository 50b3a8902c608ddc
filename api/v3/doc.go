// Package v3 holds the resources of projectcalico.org/v3: one Go type a kind, with its defaults and
// validation as markers from which the CRDs in api/crds are generated.
//
// The package holds data only: no I/O, no goroutine.
//
// +kubebuilder:object:generate=true
// +groupName=projectcalico.org
package v3

//go:generate go tool controller-gen object paths=.
//go:generate go tool controller-gen crd:allowDangerousTypes=true paths=. output:crd:dir=../crds
