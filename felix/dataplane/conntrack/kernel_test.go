package conntrack_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/conntrack"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// flow makes the kernel know a UDP connection whose answers come from replier.
func flow(t *testing.T, h *netlink.Handle, family dataplane.Family, src, dst, replier string) {
	t.Helper()
	tuple := func(src, dst string, from, to uint16) netlink.IPTuple {
		return netlink.IPTuple{SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice(),
			SrcPort: from, DstPort: to, Protocol: unix.IPPROTO_UDP}
	}
	err := h.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(family.AF()), &netlink.ConntrackFlow{
		FamilyType: uint8(family.AF()), Forward: tuple(src, dst, 5000, 53), Reverse: tuple(replier, src, 53, 5000),
		TimeOut: 600})
	if err != nil {
		t.Fatalf("make the flow %s to %s: %v", src, dst, err)
	}
}

// known lists source and destination of the flows that the kernel knows.
func known(t *testing.T, h *netlink.Handle, family dataplane.Family) []string {
	t.Helper()
	flows, err := h.ConntrackTableList(netlink.ConntrackTable, netlink.InetFamily(family.AF()))
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, f := range flows {
		list = append(list, f.Forward.SrcIP.String()+" "+f.Forward.DstIP.String())
	}
	slices.Sort(list)
	return list
}

// TestForget: connections from, to and translated to an address go; those of others and of the other family stay.
func TestForget(t *testing.T) {
	kerneltest.Enter(t)
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, family := range []struct {
		dataplane.Family
		pod, other, service string
	}{
		{dataplane.IPv4, "10.65.0.2", "10.65.0.3", "10.96.0.10"},
		{dataplane.IPv6, "fd00:65::2", "fd00:65::3", "fd00:96::10"},
	} {
		flow(t, h, family.Family, family.pod, family.service, family.other)
		flow(t, h, family.Family, family.other, family.pod, family.pod)
		flow(t, h, family.Family, family.service, family.other, family.pod)
		flow(t, h, family.Family, family.other, family.service, family.service)
		c, err := conntrack.Open(family.Family)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(known(t, h, family.Family)); n != 4 {
			t.Fatalf("%s: %d connections before anything is to be forgotten, want 4", family.Family, n)
		}
		pod := netip.MustParseAddr(family.pod)
		for _, addr := range []string{"10.65.0.2", "fd00:65::2"} {
			c.Forget(netip.MustParseAddr(addr))
		}
		if c.InPlace(pod) {
			t.Errorf("%s: in place before Apply", family.Family)
		}
		if err := c.Apply(t.Context()); err != nil {
			t.Error(err)
		}
		if !c.InPlace(pod) {
			t.Errorf("%s: not in place after Apply", family.Family)
		}
		if diff := cmp.Diff([]string{family.other + " " + family.service}, known(t, h, family.Family)); diff != "" {
			t.Errorf("%s connections (-want +got):\n%s", family.Family, diff)
		}
	}
}
