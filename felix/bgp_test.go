package felix_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestBGP: the speaker is told who its peers are and what IPAM has on them, and the node reports what contradicts IPAM
// and which peer's session is kept closed, until it is not.
func TestBGP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		block := netip.MustParsePrefix("10.65.2.0/26")
		n2 := netip.MustParseAddr("172.30.0.12")
		r.commit(pool, &wire.BGP{Node: "n1", ASNumber: 64512, Mesh: true},
			&wire.Host{Name: "n1", IPv4: netip.MustParsePrefix("172.30.0.11/24")},
			&wire.Host{Name: "n2", IPv4: netip.PrefixFrom(n2, 24)},
			&wire.Route{Dst: block, Node: "n2", Pool: "p"})
		c := r.speaker.config
		if len(c.Peers) != 1 || c.Peers[0].Node != "n2" || c.Peers[0].MaxPrefixes != 20000 ||
			!slices.Equal(c.Confirmed["n2"], []netip.Prefix{block}) {
			t.Errorf("configuration of the speaker: %+v", c)
		}

		stray := netip.MustParsePrefix("10.65.9.0/26")
		r.speaker.routes = []bgp.Route{{Dst: stray, NextHops: []netip.Addr{n2}}}
		r.speaker.status.Peers = []bgp.PeerStatus{{Name: "tor", Addr: n2, Error: "it announced more than 20000 routes"}}
		r.speaker.changes <- struct{}{}
		synctest.Wait()
		status, err := r.agent.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(status.Refused) != 1 || !strings.Contains(status.Refused[0], stray.String()) {
			t.Errorf("refused %q, want %s", status.Refused, stray)
		}
		want := "BGP peer tor (172.30.0.12): it announced more than 20000 routes"
		if !slices.Contains(status.Problems, want) {
			t.Errorf("problems %q, want %q", status.Problems, want)
		}

		r.speaker.routes, r.speaker.status.Peers[0].Error = nil, ""
		r.speaker.changes <- struct{}{}
		synctest.Wait()
		status, err = r.agent.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(status.Refused)+len(status.Problems) > 0 {
			t.Errorf("afterwards: refused %q, problems %q", status.Refused, status.Problems)
		}
	})
}
