package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/kubernetes"
)

const latencyRuns = 20

// TestPolicyLatency measures the time from the creation of a NetworkPolicy to the first connection that it
// denies, and from its deletion to the first that gets through again, from a client outside the
// cluster. It judges that both happen; the times are for reading.
func TestPolicyLatency(t *testing.T) {
	install(t)
	connectRouter(t)
	addresses := runPods(t, "latency", "")
	config, err := clientcmd.BuildConfigFromFlags("", suite.cluster.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	store, err := kubernetes.New(config)
	if err != nil {
		t.Fatal(err)
	}
	deny := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "latency", Namespace: "default"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"run": "latency"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		},
	}
	enterTor(t)
	target := net.JoinHostPort(addresses["node1"][0], "8080")
	eventually(t, 30*time.Second, func(ctx context.Context) error { // until the router has learned the way
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", target)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	var denied, allowed []time.Duration
	for range latencyRuns {
		start := time.Now()
		if _, err := store.Create(t.Context(), datastore.NetworkPolicies, deny); err != nil {
			t.Fatal(err)
		}
		denied = append(denied, await(t, target, false).Sub(start))
		start = time.Now()
		if err := store.Delete(t.Context(), datastore.NetworkPolicies, datastore.KeyOf(deny),
			datastore.Preconditions{}); err != nil {
			t.Fatal(err)
		}
		allowed = append(allowed, await(t, target, true).Sub(start))
	}
	for what, times := range map[string][]time.Duration{"created → denied": denied, "deleted → allowed": allowed} {
		slices.Sort(times)
		fmt.Printf("policy %s: median %s, 90th percentile %s of %d\n", what, times[len(times)/2],
			times[len(times)*9/10], len(times))
	}
}

// enterTor moves the test's thread, and the connections it makes, to the router outside the cluster.
func enterTor(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	handle, err := netns.GetFromName(suite.cluster.TorNamespace())
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if err := netns.Set(handle); err != nil {
		t.Fatal(err)
	}
}

// await connects until the outcome is the one wanted and returns when the attempt with that outcome began.
func await(t *testing.T, target string, connects bool) time.Time {
	t.Helper()
	// An attempt that is dropped lasts as long as the timeout, which is therefore the resolution of a wait for
	// connections to succeed; one that is too short takes a busy machine for a denial.
	dialer := net.Dialer{Timeout: 100 * time.Millisecond, FallbackDelay: -1}
	if connects {
		dialer.Timeout = 10 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		start := time.Now()
		conn, err := dialer.DialContext(ctx, "tcp", target)
		if err == nil {
			conn.Close()
		}
		var timeout net.Error
		if err != nil && (!errors.As(err, &timeout) || !timeout.Timeout()) {
			t.Fatal(err) // refused or unreachable is no policy
		}
		if (err == nil) == connects {
			return start
		}
	}
	t.Fatalf("%s: connections succeed %t, want %t", target, !connects, connects)
	return time.Time{}
}
