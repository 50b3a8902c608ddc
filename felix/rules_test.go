package felix_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestSetChanges: members come and go by themselves, in a set that was delivered whole before or in the same breath.
func TestSetChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		more := wire.SetDelta{Name: "s", AddedNets: []netip.Prefix{netip.MustParsePrefix("10.65.0.8/32"),
			netip.MustParsePrefix("10.65.0.7/32")}}
		r.source.commits <- wire.Commit{Number: 1, Upserts: []wire.Object{pool, set, deny, endpoint},
			Sets: []wire.SetDelta{more}, InSync: true}
		synctest.Wait()
		if r.sets["s"] != 3 {
			t.Errorf("%d members, want 3", r.sets["s"])
		}
		rendered := r.rendered
		r.source.commits <- wire.Commit{Number: 2, InSync: true,
			Sets: []wire.SetDelta{{Name: "s", RemovedNets: more.AddedNets}, {Name: "unknown"}}}
		synctest.Wait()
		if r.sets["s"] != 1 || r.rendered != rendered {
			t.Errorf("%d members, want 1; %d chains rendered for it", r.sets["s"], r.rendered-rendered)
		}
		if last := r.source.reports[len(r.source.reports)-1]; last.Applied != 2 {
			t.Errorf("report %+v", last)
		}
	})
}

// TestRenderedOnce: a change renders the chains that it changes, whatever else there is.
func TestRenderedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.commit(pool, set, deny, endpoint)
		go r.agent.Add(t.Context(), workload) //nolint:errcheck // what it programs is looked at
		synctest.Wait()
		before := r.rendered
		r.commit(&wire.Policy{Name: "deny", Tier: "default", Ingress: []wire.Rule{{Action: wire.Allow}}})
		if got := r.rendered - before; got != 1 { // its only direction
			t.Errorf("one policy changed: %d chains rendered, want 1", got)
		}
		before = r.rendered
		moved := *endpoint
		moved.Profiles = []string{"deny"}
		r.commit(&moved)
		if got := r.rendered - before; got != 2+2 { // both directions of the endpoint and of the profile
			t.Errorf("one endpoint changed: %d chains rendered, want 4", got)
		}
		before = r.rendered
		r.commit(&wire.Config{Name: "global", Values: map[string]string{"LogPrefix": "other"}})
		if r.rendered == before {
			t.Error("a setting of all chains changed, and none was rendered")
		}
	})
}

// TestBGPPort: workloads are kept from the port that the nodes' BGP speakers listen on.
func TestBGPPort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.commit(pool, &wire.BGP{ListenPort: 1790})
		ports := r.chains["filter cali-wl-to-nodes"].Rules[0].Match.Dest.Ports
		if !slices.Equal(ports, []filter.PortRange{{First: 179, Last: 179}, {First: 1790, Last: 1790}}) {
			t.Errorf("dropped is what goes to %v", ports)
		}
	})
}

// TestIPVS: kube-proxy's interface changes the chains as it comes and goes. Endpoints have their marks, and the set
// of the node's own addresses has none of a Service.
func TestIPVS(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		addr := netip.MustParseAddr
		r.addrs[addr("172.30.0.11")] = "eth0"
		r.commit(pool, deny, endpoint, &wire.HostEndpoint{Name: "named", Node: "n1", Interface: "eth0"})
		if err := r.agent.Add(t.Context(), workload); err != nil {
			t.Fatal(err)
		}
		if r.hasChain("cali-forward-check") {
			t.Error("without IPVS there are chains for it")
		}
		r.addrs[addr("10.96.0.1")] = "kube-ipvs0"
		r.events <- dataplane.Event{Kind: dataplane.EventAddr}
		synctest.Wait()
		r.events <- dataplane.Event{Kind: dataplane.EventLink, Device: "kube-ipvs0"}
		synctest.Wait()
		if !r.hasChain("cali-forward-check") || r.sets["this-host"] != 4 {
			t.Errorf("with IPVS: chains %v, %d networks of the node, want 4", r.hasChain("cali-forward-check"),
				r.sets["this-host"])
		}
		if got, isMark := r.chains["filter cali-sm-cali1"].Rules[0].Action.(filter.SetMark); !isMark || got.Value == 0 {
			t.Errorf("the workload's mark is %+v", got)
		}
		if s, err := r.agent.Status(t.Context()); err != nil || !s.IPVS || r.agent.CNIState().Refused != nil {
			t.Errorf("status %+v, %v; ADDs are refused: %v", s, err, r.agent.CNIState().Refused)
		}
		delete(r.addrs, addr("10.96.0.1"))
		r.events <- dataplane.Event{Kind: dataplane.EventLink, Device: "kube-ipvs0", Deleted: true}
		synctest.Wait()
		if _, has := r.sets["this-host"]; has || r.hasChain("cali-forward-check") {
			t.Errorf("IPVS went: its set %v, its chains %v", has, r.hasChain("cali-forward-check"))
		}
	})
}

// TestNotices: the node says which fields of a FelixConfiguration its own settings hide, as long as they do, and that
// is no error.
func TestNotices(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRigSet(t, map[string]string{"DefaultEndpointToHostAction": "ACCEPT"}, node.Facts{Name: "n1",
			IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "eth0"}},
			journal.Open(filepath.Join(t.TempDir(), "stream")))
		for action, want := range map[string]int{"Drop": 1, "Accept": 0} {
			r.commit(pool, &wire.Config{Name: "global",
				Values: map[string]string{"DefaultEndpointToHostAction": action}})
			last := r.source.reports[len(r.source.reports)-1]
			if len(last.Notices) != want || len(last.Errors) != 0 || want == 1 &&
				!strings.Contains(last.Notices[0], "defaultEndpointToHostAction") {
				t.Errorf("with %s in the resource: report %+v, want %d notices", action, last, want)
			}
		}
	})
}

// TestProtectionThatIsNotThere is an error of the node, wherever it is asked for, as long as it is; another setting
// without effect is a notice. Settings that have effect are neither.
func TestProtectionThatIsNotThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRigSet(t, map[string]string{"BPFENABLED": "true", "LogSeverityScreen": "DEBUG"}, node.Facts{Name: "n1",
			IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "eth0"}},
			journal.Open(filepath.Join(t.TempDir(), "stream")))
		local := []string{`BPFEnabled "true" has no effect yet: `}
		for _, c := range []struct {
			values          map[string]string
			errors, notices []string
		}{
			{map[string]string{"WireguardEnabled": "true", "ChainInsertMode": "Append"},
				append(local, `FelixConfiguration default: wireguardEnabled "true" has no effect yet: `),
				[]string{`FelixConfiguration default: chainInsertMode "Append" has no effect yet: `}},
			{map[string]string{"VXLANPort": "port"}, local, []string{"VXLANPort of FelixConfiguration default"}},
			{map[string]string{"WireguardEnabled": "false", "ChainInsertMode": "Insert"}, local, nil},
		} {
			r.commit(pool, &wire.Config{Name: "global", Values: c.values})
			last := r.source.reports[len(r.source.reports)-1]
			status, err := r.agent.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for what, got := range map[string][2][]string{"errors": {last.Errors, c.errors},
				"notices":                {last.Notices, c.notices},
				"problems of the status": {status.Problems, c.errors},
				"notices of the status":  {status.Notices, c.notices}} {
				ok := len(got[0]) == len(got[1])
				for i := range got[1] {
					ok = ok && strings.Contains(got[0][i], got[1][i])
				}
				if !ok {
					t.Errorf("with %v: %s %q, want %q", c.values, what, got[0], got[1])
				}
			}
			if last.Applied == 0 || r.agent.Ready() != nil {
				t.Errorf("with %v: applied %d, %v: what does nothing must not stop the node", c.values, last.Applied,
					r.agent.Ready())
			}
		}
		r.agent.WithoutEffect([]string{"CNI configuration: a key"})
		synctest.Wait()
		if last := r.source.reports[len(r.source.reports)-1]; !slices.Contains(last.Notices,
			"CNI configuration: a key") {
			t.Errorf("of the CNI configuration the node says %q", last.Notices)
		}
	})
}

// TestIPVSWithoutMarks: where the marks have no room for endpoints, a node whose kube-proxy is in IPVS mode takes no
// pods, and says why.
func TestIPVSWithoutMarks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRigSet(t, map[string]string{"IptablesMarkMask": "0xf"},
			node.Facts{Name: "n1", IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "eth0"}},
			journal.Open(filepath.Join(t.TempDir(), "stream")))
		r.commit(pool)
		if err := r.agent.CNIState().NotReady; err != nil {
			t.Errorf("without IPVS: %v", err)
		}
		r.addrs[netip.MustParseAddr("10.96.0.1")] = "kube-ipvs0"
		r.events <- dataplane.Event{Kind: dataplane.EventLink, Device: "kube-ipvs0"}
		synctest.Wait()
		state := r.agent.CNIState()
		report := r.source.reports[len(r.source.reports)-1]
		if state.Refused == nil || state.NotReady == nil || len(report.Errors) != 1 ||
			!strings.Contains(report.Errors[0], "iptablesMarkMask") {
			t.Errorf("refused %v, not ready %v, report %+v", state.Refused, state.NotReady, report)
		}
	})
}

// TestHostEndpoints: an interface is found by its name or its addresses, one has one endpoint, and what cannot be
// enforced is said.
func TestHostEndpoints(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		addr := netip.MustParseAddr
		r.addrs[addr("172.30.0.11")], r.addrs[addr("172.30.1.11")] = "eth0", "eth1"
		r.commit(pool,
			&wire.HostEndpoint{Name: "b-named", Node: "n1", Interface: "eth0"},
			&wire.HostEndpoint{Name: "a-by-address", Node: "n1", ExpectedIPs: []netip.Addr{addr("172.30.0.11")}},
			&wire.HostEndpoint{Name: "c-by-address", Node: "n1",
				ExpectedIPs: []netip.Addr{addr("172.30.9.9"), addr("172.30.1.11")}},
			&wire.HostEndpoint{Name: "d-nowhere", Node: "n1", ExpectedIPs: []netip.Addr{addr("172.30.2.11")}},
			&wire.HostEndpoint{Name: "e-pod", Node: "n1", Interface: "cali1"},
			&wire.HostEndpoint{Name: "f-strange", Node: "n1", Interface: "eth+"},
			&wire.HostEndpoint{Name: "g-any", Node: "n1", Interface: "*"})
		for chain, want := range map[string]bool{"cali-fh-eth0": true, "cali-th-eth1": true,
			"cali-fh-any-interface-at-all": true,
			"cali-fh-eth2":                 false, "cali-fh-cali1": false, "cali-fh-eth+": false} {
			if r.hasChain(chain) != want {
				t.Errorf("chain %s: %v, want %v", chain, !want, want)
			}
		}
		problems := strings.Join(r.source.reports[len(r.source.reports)-1].Errors, "\n")
		for _, name := range []string{"a-by-address: interface eth0 has host endpoint b-named", "d-nowhere", "e-pod",
			"f-strange"} {
			if !strings.Contains(problems, "host endpoint "+name) {
				t.Errorf("nothing said of %s in:\n%s", name, problems)
			}
		}
		r.addrs[addr("172.30.2.11")] = "eth2"
		r.events <- dataplane.Event{Kind: dataplane.EventAddr}
		synctest.Wait()
		if !r.hasChain("cali-fh-eth2") {
			t.Error("an interface that gets its address has no policy")
		}
		for _, name := range []string{"a-by-address", "b-named", "c-by-address", "d-nowhere", "e-pod", "f-strange",
			"g-any"} {
			r.source.commits <- wire.Commit{Number: 9, InSync: true,
				Deletes: []wire.ID{{Kind: wire.KindHostEndpoint, Name: name}}}
		}
		synctest.Wait()
		for name := range r.chains {
			if strings.HasPrefix(name, "mangle") || strings.HasPrefix(name, "raw cali-fh-") {
				t.Errorf("without host endpoints there is chain %s", name)
			}
		}
	})
}

// TestExternalWorkload: a workload that the datastore tells of has rules at once, and routes when its interface exists.
func TestExternalWorkload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		external := &wire.Endpoint{Namespace: "vm", Pod: "vm-1", Node: "n1", Interface: "tap1",
			Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.30")}}
		r.commit(pool, external)
		if errs := r.source.reports[0].Errors; r.hasChain("cali-tw-tap1") || len(errs) != 1 ||
			!strings.Contains(errs[0], "InterfacePrefix") {
			t.Errorf("an interface that is no workload's has rules, or nothing is said of it: %v", errs)
		}
		r.commit(&wire.Config{Name: "global", Values: map[string]string{"InterfacePrefix": "tap"}})
		if !r.hasChain("cali-tw-tap1") || len(r.routes) != 0 {
			t.Errorf("before the interface exists: rules %v, routes %v", r.hasChain("cali-tw-tap1"), r.routes)
		}
		r.addrs[netip.MustParseAddr("169.254.0.1")] = "tap1"
		r.events <- dataplane.Event{Kind: dataplane.EventAddr}
		synctest.Wait()
		if len(r.routes) != 1 || r.routes[0].Dst.Addr() != external.Addrs[0] {
			t.Errorf("with the interface: routes %v", r.routes)
		}
		r.log = nil
		r.source.commits <- wire.Commit{Number: 9, InSync: true, Deletes: []wire.ID{external.ID()}}
		synctest.Wait()
		if r.hasChain("cali-tw-tap1") || len(r.routes) != 0 || !slices.Contains(r.log, "connections") {
			t.Errorf("after it went: rules %v, routes %v, %v", r.hasChain("cali-tw-tap1"), r.routes, r.log)
		}
	})
}

// TestStatusBeforeInterfacesAreListed: after events were lost, a request for the status before the interfaces are
// listed again takes no route from a workload that the datastore tells of.
func TestStatusBeforeInterfacesAreListed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.addrs[netip.MustParseAddr("169.254.0.1")] = "tap1"
		r.commit(pool, &wire.Config{Name: "global", Values: map[string]string{"InterfacePrefix": "tap"}},
			&wire.Endpoint{
				Namespace: "vm", Pod: "vm-1", Node: "n1", Interface: "tap1",
				Addrs: []netip.Addr{netip.MustParseAddr("10.65.0.30")}})
		for i := range 20 { // which of the event and the request comes first is left to chance
			held := make(chan struct{})
			r.hold = held
			r.events <- dataplane.Event{Kind: dataplane.EventAddr}
			synctest.Wait() // an apply has begun
			r.hold, r.unlisted = nil, true
			go func() { r.events <- dataplane.Event{Kind: dataplane.EventAddr} }()
			go func() { _, _ = r.agent.Status(t.Context()) }()
			synctest.Wait()
			close(held)
			synctest.Wait()
			if r.unlisted || len(r.routes) != 1 {
				t.Fatalf("round %d: the interfaces are listed %v, routes %v", i, !r.unlisted, r.routes)
			}
		}
	})
}

// TestRefusedChain: a chain that denies because the kernel refused it holds nothing up, and is reported.
func TestRefusedChain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fail["rules"] = errors.Join(&filter.Error{Table: filter.Filter, Chain: "cali-pi-x", Closed: true,
			Err: errors.New("policy deny was refused")})
		r.commit(pool, deny, endpoint)
		if err := r.agent.Add(t.Context(), workload); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		last := r.source.reports[len(r.source.reports)-1]
		if !slices.Contains(r.log, "routes") || r.agent.Ready() != nil || last.Applied == 0 ||
			!slices.Contains(last.Errors, "chain cali-pi-x of table filter: policy deny was refused") {
			t.Errorf("%v, %v, report %+v", r.log, r.agent.Ready(), last)
		}
	})
}

// TestBrokenSet: a set that cannot be made whole holds nothing up if the policies that name it deny, and is reported.
func TestBrokenSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.commit(pool, set, deny, endpoint)
		r.fail["rules"] = errors.Join(&filter.Error{Set: "s", Closed: true, Err: errors.New("set s is full")})
		r.commit(set)
		if err := r.agent.Add(t.Context(), workload); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		last := r.source.reports[len(r.source.reports)-1]
		if r.agent.Ready() != nil || last.Applied == 0 || !slices.Contains(last.Errors, "set s is full") {
			t.Errorf("with a broken set: %v, report %+v", r.agent.Ready(), last)
		}
		delete(r.fail, "rules")
		r.later(t, time.Minute) // it is tried again
		if last := r.source.reports[len(r.source.reports)-1]; len(last.Errors) > 0 {
			t.Errorf("the set is whole: report %+v", last)
		}
		r.fail["rules"] = errors.Join(&filter.Error{Set: "all-ipam-pools", Err: errors.New("full")})
		r.commit(&wire.Pool{Name: "q", CIDR: netip.MustParsePrefix("10.66.0.0/16")})
		if last := r.source.reports[len(r.source.reports)-1]; last.Applied != 0 {
			t.Errorf("a set that is no policy's is broken, and the commit counts as enforced: %+v", last)
		}
	})
}

// TestSetsBeyondTheKernelsRoom: where a node has no room for all sets, the policies of the namespace with too many
// deny, and those of others are enforced; with room again, all are.
func TestSetsBeyondTheKernelsRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		uses := func(name string, sets ...string) *wire.Policy {
			p := &wire.Policy{Name: name, Tier: "default"}
			for _, set := range sets {
				p.Ingress = append(p.Ingress, wire.Rule{Action: wire.Allow, Src: wire.Match{Sets: []string{set}}})
			}
			return p
		}
		objects := []wire.Object{pool, set}
		var many []string // as many as a node has room for, without the one of another namespace
		for i := range 61_438 {
			many = append(many, fmt.Sprint("s", i))
			objects = append(objects, &wire.IPSet{Name: many[i]})
		}
		modest, greedy := uses("knp.default/modest/p", "s"), uses("knp.default/greedy/p", many...)
		both := *endpoint
		both.Tiers = []wire.Tier{{Name: "default", Ingress: []string{modest.Name, greedy.Name},
			DefaultAction: wire.Deny}}
		r.commit(append(objects, modest, greedy, &both)...)
		if err := r.agent.Add(t.Context(), workload); err != nil {
			t.Error(err)
		}
		// closed counts the policies' chains that name a set which is withheld, and so deny.
		closed := func() (n, all int) {
			for name, chain := range r.chains {
				if strings.HasPrefix(name, "filter cali-pi-") {
					all++
					if slices.ContainsFunc(chain.Rules, func(rule filter.Rule) bool {
						return slices.ContainsFunc(rule.Match.Source.Sets,
							func(id string) bool { return r.withheld[id] != nil })
					}) {
						n++
					}
				}
			}
			return n, all
		}
		synctest.Wait()
		if n, all := closed(); n != 1 || all != 2 || r.agent.Ready() != nil {
			t.Errorf("without room %d of %d policies deny, want 1 of 2; %v", n, all, r.agent.Ready())
		}
		r.source.commits <- wire.Commit{Upserts: []wire.Object{uses(greedy.Name, many[1:]...)},
			Deletes: []wire.ID{{Kind: wire.KindIPSet, Name: many[0]}}, InSync: true}
		synctest.Wait()
		if n, all := closed(); n != 0 || all != 2 {
			t.Errorf("with room %d of %d policies deny", n, all)
		}
	})
}
