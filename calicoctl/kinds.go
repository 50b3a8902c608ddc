package calicoctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
)

// shortNames are the other names of kinds, those of the CRDs and those that only calicoctl has.
var shortNames = map[string][]string{
	"BGPConfiguration":   {"bgpconfig", "bgpconfigs"},
	"BlockAffinity":      {"affinity", "affinities"},
	"ClusterInformation": {"clusterinfo", "clusterinfos"},
	"FelixConfiguration": {"felixconfig", "felixconfigs"},
	"IPAMConfiguration":  {"ipamconfig", "ipamconfigs"},
	"IPPool":             {"ipp"},
}

func namesOf(kind datastore.Kind) []string {
	return append([]string{strings.ToLower(kind.String()), kind.Plural}, shortNames[kind.String()]...)
}

// kindNamed finds a kind by any of its names, in any case.
func kindNamed(name string) (datastore.Kind, error) {
	var all []string
	for _, kind := range datastore.CalicoKinds() {
		names := namesOf(kind)
		if slices.Contains(names, strings.ToLower(name)) {
			return kind, nil
		}
		all = append(all, names...)
	}
	if near := manifest.Meant(name, all); near != "" {
		return datastore.Kind{}, fmt.Errorf("there is no resource type %q; did you mean %s?", name, near)
	}
	var plurals []string
	for _, kind := range datastore.CalicoKinds() {
		plurals = append(plurals, kind.Plural)
	}
	return datastore.Kind{}, fmt.Errorf("there is no resource type %q; known are %s", name, strings.Join(plurals, ", "))
}

// selection is what a command line names: a kind, and one, several or all of its objects.
type selection struct {
	kind      datastore.Kind
	names     []string
	namespace string
}

// selected reads arguments such as `ippools`, `ippool a b` or `ippool/a`.
func selected(args []string, namespace string) (selection, error) {
	name, first, slash := strings.Cut(args[0], "/")
	kind, err := kindNamed(name)
	if err != nil {
		return selection{}, err
	}
	s := selection{kind: kind, names: args[1:]}
	if slash {
		s.names = append([]string{first}, s.names...)
	}
	if kind.Namespaced {
		s.namespace = namespace
	}
	return s, nil
}

func (s selection) keys() []datastore.Key {
	var keys []datastore.Key
	for _, name := range s.names {
		keys = append(keys, datastore.Key{Namespace: s.namespace, Name: name})
	}
	return keys
}
