// Package initial has the resources that users' commands presuppose: a patch of the FelixConfiguration default has to
// find one. Calico's programs make them when they start.
//
// None of them has a field whose absence would mean something else, so that they change nothing. kube-controllers makes
// them in Kubernetes, and Felix in an etcd, when it starts. The package keeps nothing, and any number of goroutines may
// call it.
package initial

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/defaults"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// Name is that of each resource but the tiers.
const Name = "default"

var meta = metav1.ObjectMeta{Name: Name}

// FelixConfiguration returns the one that there is at first.
func FelixConfiguration() *v3.FelixConfiguration { return &v3.FelixConfiguration{ObjectMeta: meta} }

// BGPConfiguration returns the one that there is at first.
func BGPConfiguration() *v3.BGPConfiguration { return &v3.BGPConfiguration{ObjectMeta: meta} }

// KubeControllersConfiguration returns the one that there is at first. A controller that it does not name does not run.
func KubeControllersConfiguration() *v3.KubeControllersConfiguration {
	return &v3.KubeControllersConfiguration{ObjectMeta: meta, Spec: v3.KubeControllersConfigurationSpec{
		Controllers: v3.ControllersConfig{Node: &v3.NodeControllerConfig{}}}}
}

// CompleteClusterInformation returns a spec with the version of the running program, and with what it lacks. A GUID
// stays, and so does datastoreReady: with false an administrator stops the data plane for a migration.
func CompleteClusterInformation(spec v3.ClusterInformationSpec, version, clusterType string) v3.ClusterInformationSpec {
	spec.CalicoVersion = version
	if spec.ClusterGUID == "" {
		guid := make([]byte, 16)
		rand.Read(guid) // never fails
		spec.ClusterGUID = hex.EncodeToString(guid)
	}
	if spec.ClusterType == "" {
		spec.ClusterType = clusterType
	}
	if spec.DatastoreReady == nil {
		ready := true
		spec.DatastoreReady = &ready
	}
	return spec
}

// Ensure makes what is missing in a datastore without Kubernetes, and returns the names of what it made. It writes the
// version into the ClusterInformation. Any number of nodes may do so at a time.
func Ensure(ctx context.Context, store datastore.Store, version string) ([]string, error) {
	all := []datastore.Object{FelixConfiguration(), BGPConfiguration(), KubeControllersConfiguration()}
	for _, tier := range v3.BuiltInTiers() {
		all = append(all, tier)
	}
	info := &v3.ClusterInformation{ObjectMeta: meta}
	info.Spec = CompleteClusterInformation(info.Spec, version, "")
	var made []string
	var errs []error
	for _, o := range append(all, info) {
		name, err := create(ctx, store, o)
		if name != "" {
			made = append(made, name)
		}
		errs = append(errs, err)
	}
	return made, errors.Join(append(errs, complete(ctx, store, version))...)
}

// create returns the kind and name of an object that it made, and "" if there is one already.
func create(ctx context.Context, store datastore.Store, o datastore.Object) (string, error) {
	kind, err := datastore.KindOf(o)
	if err != nil {
		return "", err
	}
	// Not only by Create: a user who may not create anything needs no right for what is there.
	_, err = store.Get(ctx, kind, datastore.KeyOf(o))
	if !errors.Is(err, datastore.ErrNotFound) {
		return "", err
	}
	if err := defaults.Set(o); err != nil {
		return "", err
	}
	_, err = store.Create(ctx, kind, o)
	if errors.Is(err, datastore.ErrExists) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return kind.String() + " " + o.GetName(), nil
}

// complete brings a ClusterInformation that was there up to date.
func complete(ctx context.Context, store datastore.Store, version string) error {
	_, err := datastore.Modify(ctx, store, datastore.ClusterInformations, datastore.Key{Name: Name},
		func(info *v3.ClusterInformation) error {
			info.Spec = CompleteClusterInformation(info.Spec, version, "")
			return nil
		})
	return err
}
