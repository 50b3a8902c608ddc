package kubernetes

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/version"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// absent is called for an optional kind that the API server does not serve in our version. It returns an empty list if
// it is certain that the kind has no CRD, and otherwise the name of the version to read instead.
//
// A 404 of an API server proves nothing: each API server learns of CRDs through its own watch, which may lag. But a
// list of the CRDs without a resourceVersion is read from etcd, or from a cache that is as new as etcd. If it lacks the
// CRD, there are no objects either, at the revision of that list: a finalizer keeps a CRD until its objects are
// deleted.
//
// In general, only resource versions of the same resource can be compared (KEP-5504). Those of CRDs and of custom
// resources are all revisions of one etcd: the part of kube-apiserver that serves both has one storage configuration,
// to which
// --etcd-servers-overrides does not apply (seen in 1.36).
func (s *Store) absent(ctx context.Context, kind datastore.Kind) (instead string, list datastore.List, err error) {
	crd := kind.Plural + "." + kind.Group
	body, err := raw(s.clients[v3.GroupVersion].Get().AbsPath(
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
		VersionedParams(&metav1.ListOptions{FieldSelector: "metadata.name=" + crd}, metav1.ParameterCodec).Do(ctx))
	var found struct {
		Metadata metav1.ListMeta `json:"metadata"`
		Items    []definition    `json:"items"`
	}
	if err == nil {
		err = json.Unmarshal(body, &found)
	}
	switch {
	case err != nil:
		return "", list, opError(ctx, "list", kind, datastore.Key{}, fmt.Errorf("look for CRD %s: %w", crd, err))
	case len(found.Items) == 0:
		return "", datastore.List{Revision: found.Metadata.ResourceVersion}, nil
	}
	served := found.Items[0].served()
	if len(served) > 0 && !slices.Contains(served, kind.Version) {
		return served[0], list, nil
	}
	return "", list, datastore.OpError("list", kind, datastore.Key{}, datastore.ErrNoKind,
		fmt.Errorf("CRD %s is there, with the versions %v, but the API server does not serve %s, or not yet", crd,
			served, kind.Version))
}

// definition is the part of a CRD that names the versions of its objects.
type definition struct {
	Spec struct {
		Versions []struct {
			Name   string `json:"name"`
			Served bool   `json:"served"`
		} `json:"versions"`
	} `json:"spec"`
}

// served returns the served versions in Kubernetes' order of preference.
func (d definition) served() []string {
	var names []string
	for _, v := range d.Spec.Versions {
		if v.Served {
			names = append(names, v.Name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	return names
}
