package calc_test

import (
	"net/netip"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestTunnelAddressOfAnother: a node has the tunnel address that it names unless IPAM gave that to somebody else,
// whatever comes first.
func TestTunnelAddressOfAnother(t *testing.T) {
	pool := &v3.IPPool{ObjectMeta: meta("p"), Spec: v3.IPPoolSpec{CIDR: "10.244.0.0/16"}}
	tunnelOf := func(node string) map[string]string {
		return map[string]string{"node": node, "type": "vxlanTunnelAddress"}
	}
	good := newNode("n1", "172.30.0.11", nil, "IPv4VXLANTunnelAddr", "10.244.0.0")
	evil := newNode("evil", "172.30.0.66", nil, "IPv4VXLANTunnelAddr", "10.244.0.0")
	own := wire.TunnelEndpoint{Node: "n1", Kind: encap.VXLAN, Addr: netip.MustParseAddr("10.244.0.0"),
		MAC:   wire.TunnelMAC("n1", 4),
		Outer: netip.MustParseAddr("172.30.0.11")}
	block := blockAt("10.244.0.0/29", 1, "host:n1", tunnelOf("n1"))
	for name, order := range map[string][]metav1.Object{
		"IPAM first":  {pool, block, good, evil},
		"nodes first": {evil, good, block, pool},
	} {
		t.Run(name, func(t *testing.T) {
			e, w := calc.New(), newWorld()
			var problems []calc.Problem
			for _, o := range order {
				e.Upsert(o)
				d := e.Flush()
				w.apply(t, d)
				problems = append(problems, d.Problems...)
			}
			w.ofKind(t, wire.KindTunnelEndpoint, &own)
			last := problems[len(problems)-1]
			if last.Name != "evil" || !strings.Contains(last.Reason, "10.244.0.0: IPAM gave it to node n1") {
				t.Errorf("problems %v, want one on node evil", problems)
			}
			// The address becomes the other node's, and then a pod's.
			e.Upsert(blockAt("10.244.0.0/29", 1, "host:evil", tunnelOf("evil")))
			d := e.Flush()
			w.apply(t, d)
			other := own
			other.Node, other.MAC, other.Outer = "evil", wire.TunnelMAC("evil", 4), netip.MustParseAddr("172.30.0.66")
			w.ofKind(t, wire.KindTunnelEndpoint, &other)
			pod := map[string]string{"namespace": "shop", "pod": "db", "node": "evil"}
			e.Upsert(blockAt("10.244.0.0/29", 1, "host:evil", pod))
			w.apply(t, e.Flush())
			w.ofKind(t, wire.KindTunnelEndpoint)
		})
	}
}
