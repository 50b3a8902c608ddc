package bgp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc/internal/transcript"
	"github.com/maneki-net/maneki/typha/wire"
)

func TestTranscripts(t *testing.T) {
	transcript.Run(t, func(t *testing.T) func(transcript.Command) string {
		r := New()
		return func(c transcript.Command) string { return run(t, r, c) }
	})
}

// nodeSpec is a node as the transcripts write it.
type nodeSpec struct {
	IPv4, IPv6, ClusterID string
	AS                    uint32
	Labels                map[string]string
}

func run(t *testing.T, r *Resolver, c transcript.Command) string {
	if c.Name == "flush" {
		return printed(r.Flush())
	}
	name := c.Args[0]
	switch c.Name {
	case "node":
		var spec nodeSpec
		c.Into(t, &spec)
		host := &wire.Host{Name: name, ASNumber: spec.AS, RouteReflectorClusterID: spec.ClusterID}
		for text, field := range map[string]*netip.Prefix{spec.IPv4: &host.IPv4, spec.IPv6: &host.IPv6} {
			if text != "" {
				*field = netip.MustParsePrefix(text)
			}
		}
		r.SetNode(host, spec.Labels)
	case "peer":
		o := &v3.BGPPeer{}
		o.Name = name
		c.Into(t, &o.Spec)
		return problem(r.SetPeer(o))
	case "filter":
		o := &v3.BGPFilter{}
		o.Name = name
		c.Into(t, &o.Spec)
		return problem(r.SetFilter(o))
	case "configuration":
		o := &v3.BGPConfiguration{}
		o.Name = name
		c.Into(t, &o.Spec)
		return problem(r.SetConfiguration(o))
	case "delete":
		for name, remove := range map[string]func(string){"node": r.DeleteNode, "peer": r.DeletePeer,
			"filter": r.DeleteFilter, "configuration": r.DeleteConfiguration} {
			if name == c.Args[0] {
				remove(c.Args[1])
			}
		}
	default:
		t.Fatalf("there is no command %s", c.Name)
	}
	return ""
}

func problem(err error) string {
	if err == nil {
		return ""
	}
	return "problem: " + err.Error()
}

func printed(changes Changes) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(changes.Objects)) {
		object := changes.Objects[name]
		if object == nil {
			fmt.Fprintf(&out, "%s is gone\n", name)
			continue
		}
		peers := object.Peers
		object = &wire.BGP{ASNumber: object.ASNumber, ListenPort: object.ListenPort, Mesh: object.Mesh,
			ProgramClusterRoutes: object.ProgramClusterRoutes, MeshMaxRestartSeconds: object.MeshMaxRestartSeconds,
			BindNodeIP: object.BindNodeIP, Advertisements: object.Advertisements, Barred: object.Barred}
		fmt.Fprintf(&out, "%s %s\n", name, transcript.Format(object))
		for _, p := range peers {
			fmt.Fprintf(&out, "  %s\n", transcript.Format(p))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changes.Ports)) {
		fmt.Fprintf(&out, "%s listens on port %d\n", name, changes.Ports[name])
	}
	for _, name := range slices.Sorted(maps.Keys(changes.Problems)) {
		if reason := changes.Problems[name]; reason != "" {
			fmt.Fprintf(&out, "problem of BGPPeer %s: %s\n", name, reason)
		}
	}
	return out.String()
}

// TestHistoriesEndAlike: whatever the history was, nodes have the objects that a new Resolver computes from the last
// state.
func TestHistoriesEndAlike(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		r, objects, last := New(), map[string]*wire.BGP{}, map[string]func(*Resolver){}
		for range 60 {
			key, set, remove := randomStep(random)
			last[key] = set
			if random.IntN(3) == 0 {
				delete(last, key)
				set = remove
			}
			set(r)
			if random.IntN(2) == 0 {
				take(objects, r.Flush())
			}
		}
		take(objects, r.Flush())
		fresh, want := New(), map[string]*wire.BGP{}
		for _, set := range last {
			set(fresh)
		}
		take(want, fresh.Flush())
		if diff := gocmp.Diff(want, objects, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Fatalf("seed %d: objects (-want +got):\n%s", seed, diff)
		}
	}
}

func take(objects map[string]*wire.BGP, changes Changes) {
	for name, object := range changes.Objects {
		if object == nil {
			delete(objects, name)
		} else {
			objects[name] = object
		}
	}
}

// randomStep returns a change to one resource, and how to remove the resource.
func randomStep(random *rand.Rand) (key string, set, remove func(*Resolver)) {
	i, choice := random.IntN(4), random.IntN(3)
	name := fmt.Sprint("n", i)
	address := netip.AddrFrom4([4]byte{172, 30, 0, byte(random.IntN(5))})
	meta := metav1.ObjectMeta{Name: name}
	switch random.IntN(8) {
	case 0:
		port := 179 + choice
		o := &v3.BGPConfiguration{ObjectMeta: meta, Spec: v3.BGPConfigurationSpec{ListenPort: &port}}
		o.Name = []string{"default", "node." + name}[random.IntN(2)]
		return "configuration " + o.Name, func(r *Resolver) { r.SetConfiguration(o) },
			func(r *Resolver) { r.DeleteConfiguration(o.Name) }
	case 1:
		o := &v3.BGPFilter{ObjectMeta: meta, Spec: v3.BGPFilterSpec{ImportV4: []v3.BGPFilterRuleV4{{Action: v3.Accept,
			PeerType: []v3.BGPFilterPeerType{"", v3.BGPFilterPeerTypeEBGP, v3.BGPFilterPeerTypeIBGP}[choice]}}}}
		return "filter " + name, func(r *Resolver) { r.SetFilter(o) }, func(r *Resolver) { r.DeleteFilter(name) }
	case 2, 3:
		spec := v3.BGPPeerSpec{PeerIP: address.String(), ASNumber: uint32(64511 + choice),
			Filters: []string{fmt.Sprint("n", choice)}}
		switch random.IntN(3) {
		case 0:
			spec = v3.BGPPeerSpec{NodeSelector: "rack == '0'", PeerSelector: "rack == '1'"}
		case 1:
			spec.Node = name
		}
		o := &v3.BGPPeer{ObjectMeta: meta, Spec: spec}
		return "peer " + name, func(r *Resolver) { r.SetPeer(o) }, func(r *Resolver) { r.DeletePeer(name) }
	}
	host := &wire.Host{Name: name, IPv4: netip.PrefixFrom(address, 24), ASNumber: uint32(64511 + choice)}
	labels := map[string]string{"rack": fmt.Sprint(random.IntN(2))}
	return "node " + name, func(r *Resolver) { r.SetNode(host, labels) }, func(r *Resolver) { r.DeleteNode(name) }
}
