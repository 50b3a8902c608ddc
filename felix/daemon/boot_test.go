package daemon

import (
	"errors"
	"net/netip"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
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
	n1.do(t, func() { // what a boot leaves of the kernel's state
		c, err := config.Resolve()
		if err == nil {
			err = cleanKernel(t.Context(), *c)
		}
		if err != nil {
			t.Error(err)
		}
	})
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
