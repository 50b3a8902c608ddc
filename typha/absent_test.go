package typha_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/test/apiserver"
	"github.com/maneki-net/maneki/typha"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// lagging is the way to an API server that, while it lags, has not heard of ClusterNetworkPolicies.
type lagging struct {
	http.RoundTripper
	lags  *atomic.Bool
	asked *atomic.Int32 // for them, meanwhile
}

func (l lagging) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.lags.Load() && strings.HasSuffix(r.URL.Path, "/"+datastore.ClusterNetworkPolicies.Plural) {
		l.asked.Add(1)
		r = r.Clone(r.Context())
		// 404, in the server's own words
		r.URL.Path = "/apis/policy.networking.k8s.io/v0/" + datastore.ClusterNetworkPolicies.Plural
	}
	return l.RoundTripper.RoundTrip(r)
}

// TestPoliciesOfAnOptionalKind follows a ClusterNetworkPolicy of a real API server through the life of its CRD: there
// is none, it is installed while a Typha runs, another Typha starts behind an API server that lags, and both the policy
// and the CRD go.
func TestPoliciesOfAnOptionalKind(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an API server")
	}
	server, kind := apiserver.Start(t), datastore.ClusterNetworkPolicies
	var lags atomic.Bool
	var asked atomic.Int32
	behind := rest.CopyConfig(server.Config)
	behind.Wrap(func(to http.RoundTripper) http.RoundTripper { return lagging{to, &lags, &asked} })
	open := func(config *rest.Config) datastore.Store {
		store, err := kubernetes.New(config)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := open(server.Config)
	create(t, store, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	create(t, store, newPod("web", "n1"))

	former := start(t, store)
	source, h := former.Source("n1"), held{}
	enforced := func() bool {
		for id := range h {
			if id.Kind == wire.KindPolicy && strings.HasSuffix(id.Name, "guard") {
				return true
			}
		}
		return false
	}
	h.until(t, source, func() bool { return len(h) > 0 })
	removeCRD := server.OfferClusterNetworkPolicies(t)
	guard := guardOf(t, store)
	h.until(t, source, enforced)
	applied := map[string]string{kind.ID(): guard.ResourceVersion}

	lags.Store(true)
	young := start(t, open(behind))
	waitFor(t, "the API server that lags is asked", func() bool { return asked.Load() > 5 })
	select {
	case <-young.Hub().InSync():
		t.Fatal("a Typha that does not know whether there are policies hands something out")
	default:
	}
	lags.Store(false)
	fresh := held{}
	fresh.until(t, young.Source("n1"), func() bool { return len(fresh) > 0 })
	h = fresh
	if !enforced() {
		t.Errorf("the first that a node gets is %v, without the policy", h.names())
	}

	removeCRD() // and the policies with it
	for name, replica := range map[string]*typha.Local{"former": former, "young": young,
		"started since": start(t, store)} {
		var s *hub.Session
		waitFor(t, name+" accepts a node that applied the policy", func() bool {
			var err error
			s, err = replica.Hub().Connect(t.Context(), hub.Hello{Node: "n1", Features: wire.AllFeatures.Names(),
				Applied: applied})
			if err != nil && !errors.Is(err, hub.ErrBehind) {
				t.Fatal(err)
			}
			return err == nil
		})
		h = held{}
		h.until(t, s, func() bool { return len(h) > 0 && !enforced() })
		s.Close()
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// guardOf creates a policy once its CRD is served.
func guardOf(t *testing.T, store datastore.Store) *policyv1alpha2.ClusterNetworkPolicy {
	t.Helper()
	policy := &policyv1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "guard"},
		Spec: policyv1alpha2.ClusterNetworkPolicySpec{
			Tier: policyv1alpha2.AdminTier, Priority: 1,
			Subject: policyv1alpha2.ClusterNetworkPolicySubject{Namespaces: &metav1.LabelSelector{}},
			Ingress: []policyv1alpha2.ClusterNetworkPolicyIngressRule{
				{Action: policyv1alpha2.ClusterNetworkPolicyRuleActionDeny,
					From: []policyv1alpha2.ClusterNetworkPolicyIngressPeer{{Namespaces: &metav1.LabelSelector{}}}}},
		}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		created, err := store.Create(ctx, datastore.ClusterNetworkPolicies, policy)
		if err == nil {
			return created.(*policyv1alpha2.ClusterNetworkPolicy)
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
