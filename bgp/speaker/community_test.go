package speaker

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/typha/wire"
)

// TestCommunitiesAreSentOnce: a node, a route reflector and the filters of the reflector's session add the same
// communities to a route. A router that is an external peer of the reflector gets each of them once.
func TestCommunitiesAreSentOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	router := l.bird(3, external("v4", 65003, "10.91.0.1", 64512, "ipv4")+
		external("v6", 65003, "fd91::1", 64512, "ipv6"))
	reflector, node := l.speaker(1), l.speaker(2)
	c1, c2 := config(1, 64512, "10.244.1.0/26"), config(2, 64512, "10.244.2.0/26", "fd00:244:2::/122")
	c1.PassOn = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}
	for _, peer := range peers(1, 2, 64512) {
		peer.RouteReflectorPeer, peer.ClusterID = true, "1.0.0.1"
		c1.Peers = append(c1.Peers, peer)
	}
	outside := peers(1, 3, 65003)
	outside[0].Export = []wire.BGPRule{
		{Community: "64777:5", AddCommunities: []string{"64777:5", "64777:6", "64777:6", "64777:1:120", "64777:1:121"}},
	}
	c1.Peers = append(c1.Peers, outside...)
	c2.Peers = peers(2, 1, 64512)
	advertised := []wire.BGPAdvertisement{
		{CIDR: netip.MustParsePrefix("10.244.0.0/16"), Communities: []string{"64777:120", "64777:1:120", "64777:5"}},
		{CIDR: netip.MustParsePrefix("10.244.2.0/26"), Communities: []string{"64777:120", "64777:1:120"}},
		{CIDR: netip.MustParsePrefix("fd00:244::/32"), Communities: []string{"64777:120", "64777:1:120", "64777:120",
			"64777:1:120"}},
	}
	c1.Advertisements, c2.Advertisements = advertised, advertised
	reflector.configure(c1)
	node.configure(c2)
	filtered := []string{"64777,120", "64777,5", "64777,6", "64777, 1, 120", "64777, 1, 121"}
	for dst, want := range map[string][]string{
		"10.244.1.0/26":    filtered,
		"10.244.2.0/26":    filtered,
		"fd00:244:2::/122": {"64777,120", "64777, 1, 120"},
	} {
		slices.Sort(want)
		router.wait(dst+" with "+strings.Join(want, "; "), "show route all for "+dst, func(s string) bool {
			return slices.Equal(communitiesIn(s), want)
		})
	}
}

// communitiesIn returns the communities of BIRD's one route, sorted, each as often as the route has it.
func communitiesIn(route string) (found []string) {
	for _, match := range regexp.MustCompile(`\((\d+(?:, ?\d+)+)\)`).FindAllStringSubmatch(route, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return found
}
