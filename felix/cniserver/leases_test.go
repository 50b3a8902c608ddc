package cniserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
)

// TestLeasesAreLookedAt at the start, as soon as the agent knows the pools, and from then on: those of pods that run.
func TestLeasesAreLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start(t)()
		for _, pod := range []string{"gone", "deleted", "runs", "twice"} {
			n.must(t, request(t, "ADD", "c-"+pod, pod, nil))
		}
		n.links.remove(derive.HostInterface("shop", "gone"))
		n.must(t, request(t, "DEL", "c-deleted", "deleted", nil))
		n.settle(t)
		state := n.Server.opts.State()
		state.NotReady = errors.New("not in sync")
		n.Server.opts.State = func() State { return state }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.watchLeases(ctx) }()
		defer func() { cancel(); <-ended }()
		time.Sleep(time.Minute) // of the bubble
		if len(n.ipam.asserted) > 0 {
			t.Errorf("before the pools are known: %v", n.ipam.asserted)
		}
		state.NotReady = nil
		time.Sleep(leaseStartWait)
		synctest.Wait()
		runs := []string{"k8s-pod-network.c-runs", "k8s-pod-network.c-twice"}
		for i := range n.ipam.asserted {
			slices.Sort(n.ipam.asserted[i])
		}
		if diff := cmp.Diff([][]string{runs}, n.ipam.asserted); diff != "" {
			t.Errorf("looked at (-want +got):\n%s", diff)
		}
		n.ipam.conflicts = map[string]error{"k8s-pod-network.c-twice": fmt.Errorf("%w by pod bank/vault",
			block.ErrInUse)}
		time.Sleep(leaseInterval)
		synctest.Wait()
		told := func() string { return strings.Join(n.endpoints.conflicts, "\n") }
		if got := told(); !strings.Contains(got, "shop/twice") || !strings.Contains(got, "bank/vault") ||
			strings.Contains(got, "shop/runs") {
			t.Errorf("the agent is told %q", got)
		}
		n.ipam.failWith(errors.New("datastore unavailable"))
		time.Sleep(leaseRetry)
		synctest.Wait()
		if told() == "" {
			t.Error("a datastore that does not answer ended the conflict")
		}
		n.ipam.failWith(nil)
		n.ipam.conflicts = nil
		time.Sleep(leaseRetry)
		synctest.Wait()
		if got := told(); got != "" || len(n.ipam.asserted) != 4 {
			t.Errorf("the agent is told %q after %d looks", got, len(n.ipam.asserted))
		}
	})
}

// witness is routes that keeps what it is told of conflicts.
type witness struct {
	routes
	mu   sync.Mutex // guards told
	told []string
}

func (w *witness) Conflicts(problems []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = problems
}

func (w *witness) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.told, "\n")
}

// lose deletes every block behind the server's back.
func (h *host) lose(t *testing.T) {
	t.Helper()
	list, err := h.store.List(t.Context(), datastore.IPAMBlocks, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Items {
		if err := h.store.Delete(t.Context(), datastore.IPAMBlocks, datastore.KeyOf(item),
			datastore.Preconditions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLostLeases: the blocks of a node are deleted while its pods run. New pods get other addresses, the next start
// writes the leases again, and a lease that another node has taken meanwhile is told.
func TestLostLeases(t *testing.T) {
	h := newHost(t)
	told := &witness{}
	h.stop()
	h.opts.Endpoints = told
	h.start(t)
	var addrs []netip.Addr
	for i := range 3 {
		for _, ip := range h.must(t, "ADD", fmt.Sprint("c", i), fmt.Sprint("web-", i), sandbox(t)).IPs {
			addr := netip.MustParsePrefix(ip.Address).Addr()
			if slices.Contains(addrs, addr) {
				t.Errorf("a second pod is given %s", addr)
			}
			addrs = append(addrs, addr)
		}
		h.lose(t)
	}
	kerneltest.Run(t, "ping -c 1 -W 5 "+addrs[0].String())
	h.stop()
	h.start(t)
	h.await(t, 6)
	h.stop()
	h.lose(t)
	other := ipam.New(h.store)
	pools := h.opts.State().Pools
	taken := addrs[:1]
	r := other.Assign(t.Context(), ipam.Host{Name: "n2"}, pools, []ipam.Request{{Handle: "theirs", Addrs: taken,
		Attributes: map[string]string{ipam.AttrNamespace: "bank", ipam.AttrPod: "vault"}}})[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	h.start(t)
	h.await(t, 6)
	deadline := time.After(10 * time.Second)
	for !strings.Contains(told.said(), "bank/vault") {
		select {
		case <-deadline:
			t.Fatalf("the agent is told %q", told.said())
		case <-time.After(10 * time.Millisecond):
		}
	}
	if released, err := other.Release(t.Context(), "n2", "theirs"); err != nil || len(released) != 1 ||
		released[0].Addr != taken[0] {
		t.Errorf("the new owner had %v, %v", released, err)
	}
}
