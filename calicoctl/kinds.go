package calicoctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
)

// shortNames are the other names of kinds, those of the CRDs and those that only calicoctl has.
var shortNames = map[datastore.Kind][]string{
	datastore.BGPConfigurations:             {"bgpconfig", "bgpconfigs"},
	datastore.BlockAffinities:               {"affinity", "affinities"},
	datastore.CalicoNodeStatuses:            {"nodestatus", "nodestatuses"},
	datastore.ClusterInformations:           {"clusterinfo", "clusterinfos"},
	datastore.FelixConfigurations:           {"felixconfig", "felixconfigs"},
	datastore.GlobalNetworkPolicies:         {"gnp", "gnps", "cgnp"},
	datastore.GlobalNetworkSets:             {"gns"},
	datastore.HostEndpoints:                 {"hep", "heps"},
	datastore.IPAMConfigurations:            {"ipamconfig", "ipamconfigs"},
	datastore.IPPools:                       {"ipp", "ipps", "pool", "pools"},
	datastore.KubeControllersConfigurations: {"kcc", "kccs", "kubecontrollersconfig", "kubecontrollersconfigs"},
	datastore.CalicoNetworkPolicies: {"policy", "policies", "pol", "pols", "np", "cnp",
		"caliconetworkpolicy"},
	datastore.NetworkSets:                     {"netsets"},
	datastore.StagedGlobalNetworkPolicies:     {"sgnp"},
	datastore.StagedKubernetesNetworkPolicies: {"sknp"},
	datastore.StagedNetworkPolicies:           {"snp", "scnp", "spol", "spols", "stagedpolicy", "stagedpolicies"},
	datastore.CalicoNodes:                     {"no", "nos"},
	datastore.Profiles:                        {"pro", "pros"},
	datastore.WorkloadEndpoints:               {"wep", "weps"},
}

func namesOf(kind datastore.Kind) []string {
	return append([]string{strings.ToLower(kind.String()), kind.Plural}, shortNames[kind]...)
}

func plurals() []string {
	var names []string
	for _, kind := range datastore.EtcdKinds() {
		names = append(names, kind.Plural)
	}
	slices.Sort(names)
	return names
}

// kindNamed finds a kind by any of its names, in any case.
func kindNamed(name string) (datastore.Kind, error) {
	var all []string
	for _, kind := range datastore.EtcdKinds() {
		names := namesOf(kind)
		if slices.Contains(names, strings.ToLower(name)) {
			return kind, nil
		}
		all = append(all, names...)
	}
	if near := manifest.Meant(name, all); near != "" {
		return datastore.Kind{}, fmt.Errorf("there is no resource type %q; did you mean %s?", name, near)
	}
	return datastore.Kind{}, fmt.Errorf("there is no resource type %q; known are %s", name,
		strings.Join(plurals(), ", "))
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

// one returns the only object that a selection names.
func (s selection) one() (datastore.Key, error) {
	if len(s.names) != 1 {
		return datastore.Key{}, errors.New("say which one of " + s.kind.Plural + " by its name")
	}
	return datastore.Key{Namespace: s.namespace, Name: s.names[0]}, nil
}

// documents returns the objects that a selection names, known by their names alone.
func (s selection) documents() ([]manifest.Document, error) {
	if len(s.names) == 0 {
		return nil, errors.New("say which " + s.kind.Plural + " by their names")
	}
	var documents []manifest.Document
	for _, name := range s.names {
		documents = append(documents, manifest.Named(s.kind, datastore.Key{Namespace: s.namespace, Name: name}))
	}
	return documents, nil
}
