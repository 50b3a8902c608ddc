package node_test

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/ipam"
)

// watched is a Watcher that runs in the background, on a node with the InternalIP 172.30.0.11 and a second address.
type watched struct {
	store  datastore.Store
	latest node.Facts
	stop   func()
	*node.Watcher
}

func watch(t *testing.T, store datastore.Store, carried interfaces, file string) *watched {
	t.Helper()
	w := &watched{store: store, Watcher: node.NewWatcher(node.Options{Node: "n1", Store: store, IPAM: ipam.New(store),
		Interfaces: carried, Families: []dataplane.Family{dataplane.IPv4}, MTUPattern: regexp.MustCompile("^eth"),
		Written: file, Log: slog.New(slog.DiscardHandler)})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _ = w.Run(ctx) }()
	go func() {
		for {
			select {
			case w.latest = <-w.Facts():
			case <-ctx.Done():
				return
			}
		}
	}()
	w.stop = func() { cancel(); synctest.Wait() }
	return w
}

// write changes the Node as a user would, lets time pass, and returns the facts and the annotation then.
func (w *watched) write(t *testing.T, after time.Duration, change func(*corev1.Node)) (node.Facts, string) {
	t.Helper()
	_, err := datastore.Modify(t.Context(), w.store, datastore.Nodes, datastore.Key{Name: "n1"},
		func(n *corev1.Node) error { change(n); return nil })
	if err != nil {
		t.Fatal(err)
	}
	w.Check()
	time.Sleep(after) // of the bubble's clock
	synctest.Wait()
	return w.latest, annotations(t, w.store)[v3.NodeIPv4Address]
}

func annotated(text string) func(*corev1.Node) {
	return func(n *corev1.Node) { metav1.SetMetaDataAnnotation(&n.ObjectMeta, v3.NodeIPv4Address, text) }
}

func internal(address string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	}
}

// TestAddressOfUser: what a user writes as the node's address counts, across restarts and changes of the InternalIP, if
// an interface carries it; what Felix wrote itself follows the InternalIP. What cannot be used is told and replaced.
func TestAddressOfUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, file := memory.New(), filepath.Join(t.TempDir(), "written")
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		internal("172.30.0.11")(n)
		if _, err := store.Create(t.Context(), datastore.Nodes, n); err != nil {
			t.Fatal(err)
		}
		carried := interfaces{"172.30.0.11/24", "10.8.0.11/16", "10.9.0.11/16"}
		w := watch(t, store, carried, file)
		check := func(facts node.Facts, text, addr, annotation, refused string) {
			t.Helper()
			if facts.IPv4.Addr != netip.MustParsePrefix(addr) || text != annotation {
				t.Errorf("address %s, annotation %s, want %s and %s", facts.IPv4.Addr, text, addr, annotation)
			}
			got := strings.Join(facts.Refused, "\n")
			if (got == "") != (refused == "") || !strings.Contains(got, refused) {
				t.Errorf("refused is %q, want %q", got, refused)
			}
		}
		const soon = time.Second
		nothing := func(*corev1.Node) {}
		facts, text := w.write(t, soon, nothing)
		check(facts, text, "172.30.0.11/24", "172.30.0.11/24", "")
		facts, text = w.write(t, soon, internal("10.9.0.11"))
		check(facts, text, "10.9.0.11/16", "10.9.0.11/16", "") // the old one was Felix's, and an interface has it still
		facts, text = w.write(t, soon, annotated("10.8.0.11/24"))
		check(facts, text, "10.8.0.11/24", "10.8.0.11/24", "")
		w.stop()
		w = watch(t, store, carried, file)
		facts, text = w.write(t, soon, internal("172.30.0.11"))
		check(facts, text, "10.8.0.11/24", "10.8.0.11/24", "")

		facts, text = w.write(t, soon, annotated("10.8.0.99/24"))
		check(facts, text, "10.8.0.11/24", "10.8.0.99/24", "") // an interface may yet get it
		facts, text = w.write(t, 5*time.Minute, nothing)
		check(facts, text, "172.30.0.11/24", "172.30.0.11/24",
			"carries 10.8.0.99; it was replaced by the InternalIP 172.30.0.11/24")
		w.stop()
		w = watch(t, store, carried, file)
		facts, text = w.write(t, soon, nothing)
		check(facts, text, "172.30.0.11/24", "172.30.0.11/24", "carries 10.8.0.99")
		facts, text = w.write(t, soon, annotated("10.8.0.11"))
		check(facts, text, "10.8.0.11/16", "10.8.0.11", "")
		facts, text = w.write(t, soon, annotated("fd00::1/64"))
		check(facts, text, "172.30.0.11/24", "172.30.0.11/24", `"fd00::1/64" is not an IPv4 address`)
		facts, text = w.write(t, soon, annotated("10.8.0.11/16"))
		check(facts, text, "10.8.0.11/16", "10.8.0.11/16", "")
		facts, text = w.write(t, soon, func(n *corev1.Node) { delete(n.Annotations, v3.NodeIPv4Address) })
		check(facts, text, "172.30.0.11/24", "172.30.0.11/24", "")
		w.stop()
	})
}
