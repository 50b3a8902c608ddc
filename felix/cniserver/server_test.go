package cniserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/ipam"
)

func TestAddAndDelAreIdempotent(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	first := n.must(t, request(t, "ADD", "c1", "web", nil))
	again := n.must(t, request(t, "ADD", "c1", "web", nil))
	if diff := cmp.Diff(first, again, cmp.Comparer(func(a, b resultIP) bool { return a == b }),
		cmp.Comparer(func(a, b resultRoute) bool { return a == b })); diff != "" {
		t.Errorf("the repeated ADD answers differently (-first +again):\n%s", diff)
	}
	if n.links.created != 1 {
		t.Errorf("the interface was made %d times", n.links.created)
	}
	for range 2 {
		n.must(t, request(t, "DEL", "c1", "web", nil))
	}
	n.settle(t)
	if len(n.links.names())+len(n.endpoints.added)+len(n.ipam.handles())+len(n.records.all()) != 0 {
		t.Errorf("left behind: interfaces %v, endpoints %v, addresses %v, records %v",
			n.links.names(), n.endpoints.added, n.ipam.handles(), n.records.all())
	}
	n.must(t, request(t, "DEL", "never-seen", "web", nil))
}

func TestFailedAddLeavesNothing(t *testing.T) {
	for name, breaks := range map[string]func(*node){
		"interface": func(n *node) { n.links.kernel.FailNext("LinkAdd", errors.New("no room")) },
		"endpoint":  func(n *node) { n.endpoints.fail = errors.New("no policy") },
		"addresses": func(n *node) { n.ipam.failWith(ipam.ErrNoAddress) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			defer n.start(t)()
			breaks(n)
			if _, err := n.do(t, t.Context(), request(t, "ADD", "c1", "web", nil)); err == nil {
				t.Fatal("ADD succeeded")
			}
			n.ipam.failWith(nil)
			n.settle(t)
			if len(n.links.names())+len(n.ipam.handles())+len(n.records.all()) != 0 {
				t.Errorf("left behind: interfaces %v, addresses %v, records %v", n.links.names(), n.ipam.handles(),
					n.records.all())
			}
		})
	}
}

func TestNoAddressIsTheCNIErrorWithTheReason(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.ipam.failWith(errors.Join(ipam.ErrNoAddress, errors.New("pool default: full")))
	_, err := n.do(t, t.Context(), request(t, "ADD", "c1", "web", nil))
	if codeOf(err) != protocol.CodeNoAddress || !strings.Contains(err.Error(), "pool default: full") {
		t.Errorf("got %v (code %d)", err, codeOf(err))
	}
}

// TestPoolsAreChosenByTheNamespace: IPAM is told the labels of the pod's namespace.
func TestPoolsAreChosenByTheNamespace(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.endpoints.namespaceLabels = map[string]string{"team": "blue"}
	n.must(t, request(t, "ADD", "c1", "web", nil))
	if diff := cmp.Diff(n.endpoints.namespaceLabels, n.ipam.last.NamespaceLabels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// TestAddIsRefused: where the node takes no pods, an ADD says why, and leaves nothing.
func TestAddIsRefused(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	state := n.Server.opts.State()
	refused := state
	refused.Refused = errors.New("kube-proxy is in IPVS mode")
	n.Server.opts.State = func() State { return refused }
	if _, err := n.do(t, t.Context(), request(t, "ADD", "c1", "web", nil)); err == nil ||
		!strings.Contains(err.Error(), "IPVS mode") {
		t.Errorf("ADD: %v", err)
	}
	if handles := n.ipam.handles(); len(handles) > 0 {
		t.Errorf("addresses are held: %v", handles)
	}
	n.Server.opts.State = func() State { return state }
	if _, err := n.do(t, t.Context(), request(t, "ADD", "c1", "web", nil)); err != nil {
		t.Errorf("ADD afterwards: %v", err)
	}
}

func TestDelDoesNotWaitForTheDatastore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start(t)()
		n.must(t, request(t, "ADD", "c1", "web", nil))
		n.ipam.failWith(errors.New("datastore unavailable"))
		n.must(t, request(t, "DEL", "c1", "web", nil))
		if len(n.links.names()) != 0 {
			t.Errorf("the interface is still there: %v", n.links.names())
		}
		n.must(t, request(t, "DEL", "c1", "web", nil))
		// The same container again: its old addresses must not be released from under it.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := n.do(t, ctx, request(t, "ADD", "c1", "web", nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ADD during a release that is pending: got %v, want a timeout", err)
		}
		n.ipam.failWith(nil)
		n.must(t, request(t, "ADD", "c1", "web", nil)) // waits for the retry
		time.Sleep(2 * maxReleaseRetry)                // of the bubble: whatever was to be retried has been
		if diff := cmp.Diff([]string{"k8s-pod-network.c1"}, n.ipam.handles()); diff != "" {
			t.Errorf("handles differ (-want +got):\n%s", diff)
		}
	})
}

func TestANewSandboxReplacesTheOldOne(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.must(t, request(t, "ADD", "old", "web", nil))
	n.must(t, request(t, "ADD", "new", "web", nil))
	if diff := cmp.Diff([]string{"old"}, n.endpoints.removed); diff != "" {
		t.Errorf("the agent was told to forget (-want +got):\n%s", diff)
	}
	n.must(t, request(t, "DEL", "old", "web", nil)) // comes late
	n.settle(t)
	if diff := cmp.Diff([]string{"k8s-pod-network.new"}, n.ipam.handles()); diff != "" {
		t.Errorf("handles differ (-want +got):\n%s", diff)
	}
	if w := n.endpoints.added[derive.HostInterface("shop", "web")]; w.ContainerID != "new" ||
		len(n.links.names()) != 1 {
		t.Errorf("endpoint %+v, interfaces %v: the late DEL took the new sandbox's", w, n.links.names())
	}
}

// TestALateDelDoesNotBringTheRecordBack: the second of two DELs read the record just before the
// assigner removed it.
func TestALateDelDoesNotBringTheRecordBack(t *testing.T) {
	n := newNode(t)
	stop := n.start(t)
	n.must(t, request(t, "ADD", "c1", "web", nil))
	stop()
	n.must(t, request(t, "DEL", "c1", "web", nil))
	stale, _ := n.records.get(attachment{"c1", "eth0"})
	defer n.start(t)()
	n.settle(t)
	if err := n.remove(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	if records := n.records.all(); len(records) != 0 {
		t.Errorf("records: %v", records)
	}
}

func TestSecondInterfaceIsRefused(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.must(t, request(t, "ADD", "c1", "web", nil))
	second := request(t, "ADD", "c1", "web", nil)
	second.IfName = "net1"
	if _, err := n.do(t, t.Context(), second); codeOf(err) != protocol.CodeInvalidEnvironment {
		t.Errorf("got %v", err)
	}
	if len(n.links.names()) != 1 || len(n.records.all()) != 1 {
		t.Errorf("the first interface suffered: %v, %v", n.links.names(), n.records.all())
	}
}

// TestCrash kills the server at each step of an ADD. The repeated ADD, or the start after a
// reboot, must find everything.
func TestCrash(t *testing.T) {
	steps := map[string]func(*node){
		"while programming": func(n *node) { n.endpoints.block = true },
		"while assigning": func(n *node) {
			n.ipam.entered, n.ipam.block = make(chan struct{}, 1),
				make(chan struct{})
		},
	}
	for name, at := range steps {
		for _, reboot := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				n := newNode(t)
				stop := n.start(t)
				at(n)
				ctx, crash := context.WithCancel(t.Context())
				failed := make(chan error, 1)
				go func() {
					_, err := n.do(t, ctx, request(t, "ADD", "c1", "web", nil))
					failed <- err
				}()
				if n.ipam.entered != nil {
					<-n.ipam.entered
				}
				crash()
				if err := <-failed; !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v", err)
				}
				if n.ipam.entered != nil {
					n.ipam.entered = nil
					close(n.ipam.block) // the datastore has taken the write nevertheless
				}
				stop()
				n.endpoints.block = false
				if reboot {
					n.links.reboot()
				}
				n.restart(t)
				defer n.start(t)()
				n.recover(t.Context())
				n.must(t, request(t, "ADD", "c1", "web", nil))
				n.settle(t)
				if diff := cmp.Diff([]string{"k8s-pod-network.c1"}, n.ipam.handles()); diff != "" {
					t.Errorf("handles differ (-want +got):\n%s", diff)
				}
				if len(n.links.names()) != 1 || len(n.records.all()) != 1 {
					t.Errorf("interfaces %v, records %v", n.links.names(), n.records.all())
				}
			})
		}
	}
}

func TestStartReleasesWhatIsGoneAndReadsTheSpool(t *testing.T) {
	n := newNode(t)
	stop := n.start(t)
	for _, name := range []string{"stays", "gone", "spooled", "half-deleted", "marked"} {
		n.must(t, request(t, "ADD", "c-"+name, name, nil))
	}
	n.ipam.failWith(errors.New("datastore unavailable"))
	n.must(t, request(t, "DEL", "c-half-deleted", "half-deleted", nil))
	stop()
	n.ipam.failWith(nil)
	n.links.remove(derive.HostInterface("shop", "gone"))
	marked, _ := n.records.get(attachment{"c-marked", "eth0"}) // the crash came before its interface was removed
	former, _ := n.records.get(attachment{"c-stays", "eth0"})  // an older sandbox of a pod that runs
	former.ContainerID = "c-former"
	for _, r := range []record{marked, former} {
		r.State = stateDeleting
		if err := n.records.put(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := protocol.WriteSpool(n.opts.Spool, request(t, "DEL", "c-spooled", "spooled", nil)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.opts.Spool, "broken.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"broken.json": "{", "empty.json": "{}"} {
		if err := os.WriteFile(filepath.Join(n.opts.Records, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.restart(t)
	if got := len(n.records.all()); got != 6 {
		t.Errorf("%d records after the start, want 6", got)
	}
	workloads, err := n.Workloads()
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, w := range workloads {
		known = append(known, w.Pod)
	}
	if len(known) != 2 || strings.Contains(strings.Join(known, " "), "gone") {
		t.Errorf("workloads after the start: %v, want stays and spooled", known)
	}
	defer n.start(t)()
	n.recover(t.Context())
	n.settle(t)
	if diff := cmp.Diff([]string{"k8s-pod-network.c-stays"}, n.ipam.handles()); diff != "" {
		t.Errorf("handles differ (-want +got):\n%s", diff)
	}
	if !slices.Equal(n.links.names(), []string{derive.HostInterface("shop", "stays")}) {
		t.Errorf("interfaces after the start: %v, want that of stays", n.links.names())
	}
	if entries, err := os.ReadDir(n.opts.Spool); err != nil || len(entries) > 0 {
		t.Errorf("spool: %v, %v", entries, err)
	}
}

func TestAddOverridesASpooledDel(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.must(t, request(t, "ADD", "c1", "web", nil))
	if err := protocol.WriteSpool(n.opts.Spool, request(t, "DEL", "c1", "web", nil)); err != nil {
		t.Fatal(err)
	}
	n.must(t, request(t, "ADD", "c1", "web", nil))
	n.drainSpool(t.Context())
	if len(n.links.names()) != 1 || n.links.created != 2 {
		t.Errorf("interfaces %v, made %d times", n.links.names(), n.links.created)
	}
}

func TestASpooledDelThatAnAddCarriedOutIsOff(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.must(t, request(t, "ADD", "c1", "web", nil)) // removed the file after drainSpool had read it
	if err := n.del(t.Context(), request(t, "DEL", "c1", "web", nil),
		filepath.Join(n.opts.Spool, "gone.json")); err != nil {
		t.Fatal(err)
	}
	if len(n.links.names()) != 1 {
		t.Errorf("interfaces %v", n.links.names())
	}
}

func TestCheck(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	n.must(t, request(t, "ADD", "c1", "web", nil))
	n.must(t, request(t, "CHECK", "c1", "web", nil))
	if _, err := n.do(t, t.Context(), request(t, "CHECK", "c2", "web",
		nil)); codeOf(err) != protocol.CodeUnknownContainer {
		t.Errorf("unknown container: got %v", err)
	}
	adding, _ := n.records.get(attachment{"c1", "eth0"})
	adding.ContainerID, adding.State = "c3", stateAdding
	if err := n.records.put(adding); err != nil {
		t.Fatal(err)
	}
	if _, err := n.do(t, t.Context(), request(t, "CHECK", "c3", "web",
		nil)); codeOf(err) != protocol.CodeUnknownContainer {
		t.Errorf("container whose ADD did not succeed: got %v", err)
	}
	n.links.reboot()
	if _, err := n.do(t, t.Context(), request(t, "CHECK", "c1", "web", nil)); codeOf(err) != protocol.CodeInternal {
		t.Errorf("interface gone: got %v", err)
	}
}

func TestStatusSaysWhyTheNodeIsNotReady(t *testing.T) {
	n := newNode(t)
	n.must(t, request(t, "STATUS", "", "", nil))
	n.Server.opts.State = func() State { return State{NotReady: errors.New("not in sync")} }
	_, err := n.do(t, t.Context(), request(t, "STATUS", "", "", nil))
	if codeOf(err) != protocol.CodeNotAvailable || !strings.Contains(err.Error(), "not in sync") {
		t.Errorf("got %v", err)
	}
}

func TestGCRemovesWhatIsNotListed(t *testing.T) {
	n := newNode(t)
	defer n.start(t)()
	for _, name := range []string{"a", "b", "other-network"} {
		fields := map[string]any{}
		if name == "other-network" {
			fields["name"] = "other"
		}
		n.must(t, request(t, "ADD", "c-"+name, name, fields))
	}
	if _, err := n.do(t, t.Context(), request(t, "GC", "", "", nil)); codeOf(err) != protocol.CodeInvalidConfig {
		t.Errorf("GC without a list: got %v", err)
	}
	list := []map[string]string{{"containerID": "c-a", "ifname": "eth0"}}
	n.must(t, request(t, "GC", "", "", map[string]any{"cni.dev/valid-attachments": list}))
	n.settle(t)
	if diff := cmp.Diff([]string{"k8s-pod-network.c-a", "other.c-other-network"}, n.ipam.handles()); diff != "" {
		t.Errorf("handles differ (-want +got):\n%s", diff)
	}
}

func TestWhoWaitsTogetherSharesAWrite(t *testing.T) {
	synctest.Test(t, testWhoWaitsTogetherSharesAWrite)
}

func testWhoWaitsTogetherSharesAWrite(t *testing.T) {
	n := newNode(t)
	n.ipam.entered, n.ipam.block = make(chan struct{}), make(chan struct{})
	defer n.start(t)()
	const waiting = 20
	failed := make(chan error)
	add := func(container string) {
		_, err := n.assigner.assign(t.Context(), assignment{request: ipam.Request{Handle: container,
			Families: []ipam.Family{ipam.IPv4}}})
		failed <- err
	}
	go add("first")
	<-n.ipam.entered // the first is being written
	for i := range waiting {
		go add(string(rune('a' + i)))
	}
	synctest.Wait()
	n.ipam.block <- struct{}{}
	<-n.ipam.entered
	n.ipam.block <- struct{}{}
	for range waiting + 1 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]int{1, waiting}, n.ipam.calls); diff != "" {
		t.Errorf("requests of each write differ (-want +got):\n%s", diff)
	}
}

func TestAbandonedRequestIsNotCarriedOut(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.assigner.assignAll(t.Context(), []assignment{{request: ipam.Request{Handle: "c1"},
		answer: make(chan ipam.Result, 1), abandoned: func() bool { return ctx.Err() != nil }}})
	if len(n.ipam.calls) > 0 {
		t.Error("an address was assigned that nobody waits for")
	}
}
