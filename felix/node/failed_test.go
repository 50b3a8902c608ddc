package node

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// TestAddressAfterAFailedWrite: what Felix wrote before stays its own until the Node has what it wrote then. After that
// the same address is a user's.
func TestAddressAfterAFailedWrite(t *testing.T) {
	const before, after = "172.30.0.11/24", "172.30.0.12/24"
	families := []dataplane.Family{dataplane.IPv4}
	key := addressAnnotation(dataplane.IPv4)
	w, err := readWritten("")
	if err != nil {
		t.Fatal(err)
	}
	w.Felix[key] = before
	look := func(annotation string) *Facts {
		t.Helper()
		facts, node := &Facts{Name: "n1"}, &corev1.Node{}
		facts.IPv4.Connected = []Connected{{Device: "eth0", Subnet: netip.MustParsePrefix(before)},
			{Device: "eth0", Subnet: netip.MustParsePrefix(after)}}
		node.Annotations = map[string]string{key: annotation}
		if err := w.own(facts, node, []netip.Addr{netip.MustParseAddr("172.30.0.12")}, families); err != nil {
			t.Fatal(err)
		}
		if _, err := w.note(annotations(facts), facts); err != nil {
			t.Fatal(err)
		}
		return facts
	}
	for range 2 { // the second time, the Node still has the first address
		if f := look(before); f.IPv4.User != "" || f.IPv4.Addr.String() != after {
			t.Fatalf("address %v, of a user: %q", f.IPv4.Addr, f.IPv4.User)
		}
	}
	look(after)
	if f := look(before); f.IPv4.User != before || f.IPv4.Addr.String() != before {
		t.Errorf("what a user wrote: address %v, of a user: %q", f.IPv4.Addr, f.IPv4.User)
	}
}
