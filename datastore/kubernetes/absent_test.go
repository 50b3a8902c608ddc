package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/test/apiserver"
)

// lagging is the way to an API server that has not heard of a kind.
type lagging struct{ http.RoundTripper }

func (l lagging) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, "/"+datastore.ClusterNetworkPolicies.Plural) {
		return l.RoundTripper.RoundTrip(r)
	}
	return &http.Response{Request: r, StatusCode: http.StatusNotFound, Status: "404 Not Found",
		Header: http.Header{"Content-Type": {"text/plain"}},
		Body:   io.NopCloser(strings.NewReader("404 page not found\n"))}, nil
}

// TestAbsentCRD: a kind that an API server does not serve has no objects if there is no CRD, as of the revision at
// which that was read, and is out of reach otherwise.
func TestAbsentCRD(t *testing.T) {
	server, kind := apiserver.Start(t), datastore.ClusterNetworkPolicies
	open := func(change func(*rest.Config)) *kubernetes.Store {
		t.Helper()
		config := rest.CopyConfig(server.Config)
		change(config)
		s, err := kubernetes.New(config)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	admin := open(func(*rest.Config) {})
	behind := open(func(c *rest.Config) { c.Wrap(func(to http.RoundTripper) http.RoundTripper { return lagging{to} }) })
	stranger := open(func(c *rest.Config) { c.Impersonate.UserName = "reader" })
	server.Create(t, "/apis/rbac.authorization.k8s.io/v1/clusterroles", `{"metadata": {"name": "reader"}, "rules": [
		{"apiGroups": ["policy.networking.k8s.io"], "resources": ["clusternetworkpolicies"], "verbs": ["list"]}]}`)
	server.Create(t, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata": {"name": "reader"},
		"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}, "subjects": [{"kind": "User", "name": "reader"}]}`)
	list := func(s *kubernetes.Store) (datastore.List, error) {
		return s.List(t.Context(), kind, datastore.ListOptions{})
	}
	empty := func(s *kubernetes.Store) uint64 {
		t.Helper()
		l, err := list(s)
		if err != nil || len(l.Items) > 0 {
			t.Fatalf("got %v, %v, want an empty list", l, err)
		}
		return number(t, l.Revision)
	}

	first := empty(admin)
	if _, err := admin.Watch(t.Context(), kind, fmt.Sprint(first), datastore.ListOptions{}); !errors.Is(err,
		datastore.ErrNoKind) {
		t.Errorf("watch without the CRD: %v", err)
	}
	if _, err := list(stranger); err == nil || errors.Is(err, datastore.ErrNoKind) ||
		!strings.Contains(err.Error(), "forbidden") {
		t.Errorf("one who may not ask for the CRD gets %v", err)
	}

	remove := server.OfferClusterNetworkPolicies(t)
	until(t, "the kind is served", func(context.Context) error { _, err := list(admin); return err })
	policy := &policyv1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	created, err := admin.Create(t.Context(), kind, policy)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := list(behind); !errors.Is(err, datastore.ErrNoKind) || !strings.Contains(err.Error(), "is there") {
		t.Errorf("an API server that lags: %v", err)
	}
	if l, err := list(stranger); err != nil || len(l.Items) != 1 {
		t.Errorf("with the CRD: %v, %v", l, err)
	}

	remove()
	until(t, "the CRD is gone", func(context.Context) error { _, err := list(behind); return err })
	if last, policy := empty(behind), number(t, created.GetResourceVersion()); policy <= first || last <= policy {
		t.Errorf("there was no CRD at %d, a policy at %d, and no CRD again at %d", first, policy, last)
	}
}

// TestOtherVersions: where the server has ClusterNetworkPolicies in a version alone that we do not know, they are read
// in that. What is new in it cannot be read.
func TestOtherVersions(t *testing.T) {
	server, kind := apiserver.Start(t), datastore.ClusterNetworkPolicies
	s, err := kubernetes.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	const collection = "/apis/policy.networking.k8s.io/v1beta1/clusternetworkpolicies"
	server.OfferClusterNetworkPolicies(t, "v1beta1", "v1alpha3")
	policy := func(name, more string) string {
		return fmt.Sprintf(`{"apiVersion": "policy.networking.k8s.io/v1beta1", "kind": "ClusterNetworkPolicy", "metadata": {"name": %q}, "spec": {
			"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": [{"action": "Accept", "to": [{"networks": ["10.0.0.0/8"]}]%s}]}}`, name, more)
	}
	until(t, "the kind is served", func(context.Context) error {
		_, err := s.List(t.Context(), kind, datastore.ListOptions{})
		return err
	})
	server.Create(t, collection, policy("same", ""))
	list, err := s.List(t.Context(), kind, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	accepts := func(o datastore.Object) bool {
		p, ok := o.(*policyv1alpha2.ClusterNetworkPolicy)
		return ok && len(p.Spec.Egress) == 1 && len(p.Spec.Egress[0].To[0].Networks) == 1
	}
	if len(list.Items) != 1 || !accepts(list.Items[0]) {
		t.Errorf("the list has %+v and %+v", list.Items, list.Unusable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := s.Watch(ctx, kind, list.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	remove := server.Create(t, collection, policy("later", `, "unless": "it rains"`))
	remove()
	for _, want := range []datastore.EventType{datastore.Added, datastore.Deleted} {
		e, err := w.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != want || e.Object.GetName() != "later" || e.Err != nil || accepts(e.Object) {
			t.Errorf("the watch gives %+v, want the policy without what it accepts", e)
		}
	}
}

func number(t *testing.T, revision string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// until waits for something that the API server does by itself.
func until(t *testing.T, what string, try func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for err := try(ctx); err != nil; err = try(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
	}
}
