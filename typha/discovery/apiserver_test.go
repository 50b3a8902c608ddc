package discovery

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/test/apiserver"
)

// TestOnARealAPIServer follows replicas and takes the zone from the Node; while the server is away they stay known, and
// what happens when it is back is seen.
func TestOnARealAPIServer(t *testing.T) {
	server := apiserver.Start(t)
	store, err := kubernetes.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	create := func(kind datastore.Kind, object datastore.Object) {
		t.Helper()
		if _, err := store.Create(t.Context(), kind, object); err != nil {
			t.Fatal(err)
		}
	}
	replica := func(name, service, address, zone string) *discoveryv1.EndpointSlice {
		port, yes := int32(5473), true
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name,
				Labels: map[string]string{"kubernetes.io/service-name": service}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}, Zone: &zone,
				Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
			Ports: []discoveryv1.EndpointPort{{Port: &port}},
		}
	}
	create(datastore.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1",
		Labels: map[string]string{"topology.kubernetes.io/zone": "east"}}})
	create(datastore.EndpointSlices, replica("other", "other", "192.0.2.9", "east"))
	create(datastore.EndpointSlices, replica("west", "calico-typha", "192.0.2.1", "west"))

	w, err := New(Options{API: server.Config, Namespace: "kube-system", Service: "calico-typha", Port: "calico-typha",
		Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
	}()
	// until waits for addresses. They are all of a zone each, so that there is one order.
	until := func(what string, want ...string) {
		t.Helper()
		for deadline := time.After(time.Minute); ; {
			changed := w.Changed()
			got, err := w.Addresses()
			if slices.Equal(got, want) {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("%s: addresses %q, %v, want %q", what, got, err, want)
			}
		}
	}
	until("listed", "192.0.2.1:5473")
	create(datastore.EndpointSlices, replica("east", "calico-typha", "192.0.2.2", "east"))
	until("one more", "192.0.2.2:5473", "192.0.2.1:5473")

	server.Restart(t)
	until("after a restart", "192.0.2.2:5473", "192.0.2.1:5473")
	if err := store.Delete(t.Context(), datastore.EndpointSlices, datastore.Key{Namespace: "kube-system", Name: "west"},
		datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	until("one less", "192.0.2.2:5473")
}
