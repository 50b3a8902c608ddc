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

// Kinds without a CRD leave a file without a name.
//go:generate rm ../crds/_.yaml

// No marker says that the elements of an array may be null, as they are in an IPAMBlock's allocations.
//go:generate sed -i "/^ *allocations:$/,/type: array/s/^\\( *\\)type: integer$/\\1nullable: true\\n&/" ../crds/projectcalico.org_ipamblocks.yaml
//go:generate sh -c "cp ../crds/*.yaml ../../charts/maneki/crds/"
