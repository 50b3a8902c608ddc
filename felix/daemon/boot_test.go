package daemon

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/linux"
	"github.com/maneki-net/maneki/felix/journal"
)

// TestBootWithHostEndpoint: a node whose host endpoint was closed closes it when Felix starts after a boot, before it
// hears of Typha or programs anything else. A start without a boot changes nothing.
func TestBootWithHostEndpoint(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	n1.addPod(t, "a")
	n1.do(t, func() { serve(t) })
	outside := kerneltest.Current(t)
	reach := func() (reached []error) {
		for _, addr := range []string{"172.30.0.11", "fd00:30::11"} {
			_, err := dial(t, outside, netip.MustParseAddr(addr), "")
			reached = append(reached, err)
		}
		return reached
	}
	isClosed := func() error {
		for _, err := range reach() {
			if err == nil {
				return errors.New("the node is open")
			}
		}
		return nil
	}
	isOpen := func() error { return errors.Join(reach()...) }
	eventually(t, isOpen)
	l.create(t, datastore.HostEndpoints, &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "n1-eth0"},
		Spec: v3.HostEndpointSpec{Node: "n1", ExpectedIPs: []string{"172.30.0.11"}}})
	eventually(t, isClosed)

	before := snapshot(t, n1)
	n1.stop()
	n1.start(t)
	if after := snapshot(t, n1); after != before {
		t.Errorf("the restart changed the kernel.\nBefore:\n%s\nAfter:\n%s", before, after)
	}

	n1.stop()
	n1.reboot(t)
	if err := isOpen(); err != nil {
		t.Fatalf("after the boot, without Felix: %v", err)
	}
	n1.alone = true
	n1.launch(t)
	eventually(t, isClosed)
	status, err := n1.agent.Status(t.Context())
	if err != nil || status.Programming {
		t.Errorf("the node was closed by the stream or by the journal in its place: %+v, %v", status, err)
	}
}

// reboot takes from the kernel what a boot does.
func (m *machine) reboot(t *testing.T) {
	t.Helper()
	m.do(t, func() {
		c, err := config.Resolve()
		if err == nil {
			err = linux.Clean(t.Context(), *c)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestBootWithStaleJournal: a stale journal does not change what an earlier Felix left in the kernel. After a boot it
// closes the host endpoint but for the failsafe ports, whatever it says that profiles allow, until Typha is there.
func TestBootWithStaleJournal(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	n1.do(t, func() { serve(t) })
	outside := kerneltest.Current(t)
	reach := func(addr string) error {
		_, err := dial(t, outside, netip.MustParseAddr(addr), "")
		return err
	}
	l.create(t, datastore.HostEndpoints, &v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "n1-eth0"},
		Spec: v3.HostEndpointSpec{Node: "n1", InterfaceName: "eth0",
			Profiles: []string{"projectcalico-default-allow"}}})
	eventually(t, func() error {
		if !strings.Contains(snapshot(t, n1), "cali-fh-eth0") {
			return errors.New("no rules of the host endpoint")
		}
		return errors.Join(reach("172.30.0.11"), reach("fd00:30::11"))
	})
	n1.stop()
	data, err := os.ReadFile(n1.journal)
	if err == nil {
		data = bytes.Replace(data, []byte("+"), []byte("-"), 1) // as where a commit could not be written
		err = os.WriteFile(n1.journal, data, 0o600)
	}
	if err != nil || journal.Open(n1.journal).Stale() == nil {
		t.Fatalf("the journal is not stale: %v", err)
	}

	before := snapshot(t, n1)
	n1.alone, n1.settings = true, map[string]string{"FailsafeInboundHostPorts": "tcp:0.0.0.0/0:8080"}
	n1.launch(t)
	if _, err := n1.agent.Status(t.Context()); err != nil { // it has had its first look at the kernel
		t.Fatal(err)
	}
	if after := snapshot(t, n1); after != before {
		t.Errorf("the restart changed the kernel.\nBefore:\n%s\nAfter:\n%s", before, after)
	}

	n1.stop()
	n1.reboot(t)
	n1.launch(t)
	eventually(t, func() error {
		if reach("fd00:30::11") == nil {
			return errors.New("the node is open by IPv6, which has no failsafe port")
		}
		return nil
	})
	if err := reach("172.30.0.11"); err != nil {
		t.Errorf("the failsafe port is closed: %v", err)
	}

	n1.stop()
	n1.alone = false
	n1.start(t)
	eventually(t, func() error { return reach("fd00:30::11") })
}
