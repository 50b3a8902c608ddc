package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/api/ipreservation"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
)

// reserving makes a client to which these networks are reserved.
func reserving(store datastore.Store, nets ...string) *Client {
	c := New(store)
	var reserved []netip.Prefix
	for _, net := range nets {
		reserved = append(reserved, prefix(net))
	}
	c.SetLimits(func() Limits { return Limits{Reserved: ipreservation.Merge(reserved)} })
	return c
}

// assignAll assigns addresses of a family one by one until there are none, and returns them and the last error.
func assignAll(t *testing.T, c *Client, host string, pool Pool) (map[netip.Addr]bool, error) {
	t.Helper()
	got := map[netip.Addr]bool{}
	for i := range 1000 {
		request := Request{Handle: fmt.Sprint(host, i), Families: []Family{pool.Family()}}
		result := c.Assign(t.Context(), Host{Name: host}, []Pool{pool}, []Request{request})[0]
		if result.Err != nil {
			return got, result.Err
		}
		got[result.Leases[0].Addr] = true
	}
	t.Fatal("the pool does not end")
	return nil, nil
}

func TestReservedAddressesAreNotAssigned(t *testing.T) {
	four := Pool{Name: "p", CIDR: prefix("10.0.0.0/28"), BlockSize: 30}
	six := Pool{Name: "p", CIDR: prefix("fd00::/124"), BlockSize: 126}
	large := Pool{Name: "p", CIDR: prefix("fd00::/64"), BlockSize: 126}
	var most []string // of large: all but its first block
	for bits := 65; bits <= 126; bits++ {
		net := prefix(fmt.Sprintf("fd00::/%d", bits))
		last := net.Addr().As16()
		last[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
		most = append(most, netip.PrefixFrom(netip.AddrFrom16(last), bits).String())
	}
	tests := map[string]struct {
		pool     Pool
		reserved []string
		want     int
	}{
		"nothing":            {four, nil, 16},
		"one address":        {four, []string{"10.0.0.5/32"}, 15},
		"several networks":   {four, []string{"10.0.0.0/31", "10.0.0.1/32", "10.0.0.6/31"}, 12},
		"a whole block":      {four, []string{"10.0.0.4/30"}, 12},
		"a block in halves":  {four, []string{"10.0.0.4/31", "10.0.0.6/31"}, 12},
		"blocks at the ends": {four, []string{"10.0.0.0/29", "10.0.0.12/30"}, 4},
		"all":                {four, []string{"10.0.0.0/8"}, 0},
		"other pools":        {four, []string{"10.1.0.0/16", "fd00::/8"}, 16},
		"IPv6":               {six, []string{"fd00::1/128", "fd00::8/125"}, 7},
		"IPv6, nearly all":   {large, most, 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := memory.New()
			got, err := assignAll(t, reserving(store, test.reserved...), "n", test.pool)
			if len(got) != test.want || !errors.Is(err, ErrNoAddress) {
				t.Errorf("%d addresses, want %d; %v", len(got), test.want, err)
			}
			for addr := range got {
				for _, net := range test.reserved {
					if prefix(net).Contains(addr) {
						t.Errorf("%s is assigned, which is in %s", addr, net)
					}
				}
			}
			if said := strings.Contains(err.Error(), "IPReservations keep"); said != (test.want < 16) {
				t.Errorf("the error is %v", err)
			}
			if blocks := len(blocksOf(t, store)); blocks > (test.want+3)/4+1 {
				t.Errorf("%d blocks are claimed for %d addresses", blocks, test.want)
			}
		})
	}
}

// TestReservationOfBlocksInUse: a reservation counts in blocks that exist, of the host's own, orphaned and borrowed
// ones. Addresses in use stay.
func TestReservationOfBlocksInUse(t *testing.T) {
	store := memory.New()
	pool := Pool{Name: "p", CIDR: prefix("10.0.0.0/29"), BlockSize: 30}
	assign := func(c *Client, host, handle string) Result {
		return c.Assign(t.Context(), Host{Name: host}, []Pool{pool},
			[]Request{{Handle: handle, Families: []Family{IPv4}}})[0]
	}
	held := assign(New(store), "a", "first").Addrs()[0]
	assign(New(store), "b", "second")
	own := netip.PrefixFrom(held, 30).Masked()
	c := reserving(store, own.String())
	if again := assign(c, "a", "first"); again.Err != nil || again.Addrs()[0] != held {
		t.Errorf("the address in use: %v", again)
	}
	if tunnel, err := c.EnsureTunnelAddress(t.Context(), Host{Name: "a"}, []Pool{pool}, encap.VXLAN,
		IPv4); err != nil || own.Contains(tunnel) {
		t.Errorf("tunnel address %s: %v", tunnel, err) // borrowed of b
	}
	if next := assign(c, "a", "third"); next.Err != nil || own.Contains(next.Addrs()[0]) {
		t.Errorf("a further address: %v", next)
	}
	if _, err := New(store).ReleaseHost(t.Context(), "b", isGone); err != nil {
		t.Fatal(err)
	}
	got, _ := assignAll(t, reserving(store, own.String()), "c", pool)
	if len(got) != 2 { // of the four of b, two are a's
		t.Errorf("of the orphaned block %v are assigned", got)
	}
	if got, _ := assignAll(t, New(store), "d", pool); len(got) != 3 {
		t.Errorf("without the reservation %v are assigned", got)
	}
}

// TestReservedAddressOnRequest: as in Calico, whoever asks for the very address gets it.
func TestReservedAddressOnRequest(t *testing.T) {
	pools := []Pool{{Name: "p", CIDR: prefix("10.0.0.0/28"), BlockSize: 30}}
	c := reserving(memory.New(), "10.0.0.0/28")
	for _, text := range []string{"10.0.0.5", "10.0.0.6"} {
		addr := netip.MustParseAddr(text)
		result := c.Assign(t.Context(), Host{Name: "a"}, pools, []Request{{Handle: text, Addrs: []netip.Addr{addr}}})[0]
		if result.Err != nil || result.Addrs()[0] != addr {
			t.Errorf("%s: %v", text, result)
		}
	}
}

// TestReservationsAreReadFromTheStore by a client that is not told them.
func TestReservationsAreReadFromTheStore(t *testing.T) {
	store := memory.New()
	reserve := func(name string, nets ...string) {
		o := &v3.IPReservation{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v3.IPReservationSpec{ReservedCIDRs: nets}}
		if _, err := store.Create(t.Context(), datastore.IPReservations, o); err != nil {
			t.Fatal(err)
		}
	}
	reserve("a", "10.0.0.0/30", "nonsense")
	reserve("b", "10.0.0.8/30")
	got, _ := assignAll(t, New(store), "n", Pool{Name: "p", CIDR: prefix("10.0.0.0/28"), BlockSize: 30})
	if len(got) != 8 {
		t.Errorf("%v are assigned", got)
	}
}
