package felix_test

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/typha/wire"
)

var (
	guarded  = []string{"guard"}
	hostOpen = &wire.HostEndpoint{Name: "eth0", Node: "n1", Interface: "eth0", Profiles: []string{"open"},
		Tiers: []wire.Tier{{Name: "default", Ingress: []string{"allow"}, DefaultAction: wire.Deny}}}
	allow = &wire.Policy{Name: "allow", Tier: "default",
		Ingress: []wire.Rule{{Action: wire.Allow, Src: wire.Match{Sets: []string{"s"}}}}}
	profile = &wire.Policy{Name: "open", Ingress: []wire.Rule{{Action: wire.Allow}},
		Egress: []wire.Rule{{Action: wire.Allow}}}
	peering = &wire.BGP{ASNumber: 64512}
	n1      = node.Facts{Name: "n1",
		IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"), Device: "eth0"}}
)

// TestGuardStaleRestart: where an earlier process left its rules, a stale journal changes nothing, host endpoints or
// not, whatever happens until the stream is there.
func TestGuardStaleRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		kernel := newFake()
		kernel.programmed = true
		byAddr := &wire.HostEndpoint{Name: "by-address", Node: "n1",
			ExpectedIPs: []netip.Addr{netip.MustParseAddr("172.30.1.11")}}
		r := newRigOn(t, kernel, nil, n1, journal.Open(staleJournal(t, pool, set, deny, endpoint, hostOpen, byAddr)))
		synctest.Wait()
		r.events <- dataplane.Event{Kind: dataplane.EventAddr}
		r.later(t, time.Minute)
		if len(r.log) > 0 {
			t.Errorf("the kernel was changed by a stale journal: %v", r.log)
		}
		r.commit(pool, set, deny, endpoint, hostOpen)
		if !r.hasChain("cali-fh-eth0") || !slices.Contains(r.log, "routes") || r.agent.Ready() != nil {
			t.Errorf("the stream came: chain %v, %v, %v", r.hasChain("cali-fh-eth0"), r.log, r.agent.Ready())
		}
	})
}

// TestGuardStaleUnread: as long as it is not known whether an earlier process left rules, nothing is changed, and the
// question is asked again.
func TestGuardStaleUnread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		kernel := newFake()
		kernel.fail["programmed"] = errors.New("broken")
		r := newRigOn(t, kernel, nil, n1, journal.Open(staleJournal(t, hostOpen)))
		r.later(t, time.Minute)
		if len(r.log) > 0 {
			t.Errorf("changed unread: %v", r.log)
		}
		delete(r.fail, "programmed")
		r.later(t, 15*time.Second)
		if diff := cmp.Diff(guarded, r.log); diff != "" {
			t.Errorf("read at last (-want +got):\n%s", diff)
		}
	})
}

// TestGuardStaleBoot: in a kernel without rules a stale journal closes its host endpoints but for the failsafe ports,
// once; what it allows counts for nothing until the stream says it. The loopback interface stays open to "*".
func TestGuardStaleBoot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		all := &wire.HostEndpoint{Name: "all", Node: "n1", Interface: "*"}
		known := []wire.Object{pool, set, deny, allow, profile, endpoint, hostOpen, all}
		r := newRigOf(t, n1, journal.Open(staleJournal(t, known...)))
		r.later(t, time.Minute)
		if diff := cmp.Diff(guarded, r.log); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
		if _, has := r.sets["s"]; has || r.sets["all-ipam-pools"] != 0 {
			t.Errorf("sets of a state that is not current: %v", r.sets)
		}
		if !r.hasChain("cali-fh-eth0") || r.allows("cali-pi-") ||
			r.allows("cali-pri-open") || r.allows("cali-pro-open") {
			t.Errorf("not closed: %v", r.chains)
		}
		if len(r.chains["filter cali-failsafe-in"].Rules) == 0 || !r.hasChain("cali-fh-lo") {
			t.Errorf("failsafe ports or loopback closed: %v", r.chains)
		}
		r.commit(known...)
		if r.hasChain("cali-fh-lo") || !r.allows("cali-pri-open") || !r.allows("cali-pi-") ||
			r.sets["s"] != 1 || r.agent.Ready() != nil {
			t.Errorf("the stream came: sets %v, %v, chains %v", r.sets, r.agent.Ready(), r.chains)
		}
	})
}

// TestGuardOnce: what the guard has closed it closes again when something changed, and not otherwise.
func TestGuardOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := journal.Open(filepath.Join(t.TempDir(), "stream"))
		j.Append(wire.Commit{Upserts: []wire.Object{pool, hostOpen, peering,
			&wire.Host{Name: "n1", IPv4: n1.IPv4.Addr}}})
		r := newRigOn(t, newFake(), nil, n1, j)
		for range 3 { // each asks the agent for something
			r.later(t, time.Second)
		}
		if diff := cmp.Diff(guarded, r.log); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
		r.log = nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.agent.Add(ctx, workload); err == nil {
			t.Error("a pod was added without the stream")
		}
		synctest.Wait()
		if diff := cmp.Diff(guarded, r.log); diff != "" {
			t.Errorf("a pod came (-want +got):\n%s", diff)
		}
		if r.speaker.config.ASNumber != 0 {
			t.Errorf("BGP was configured: %+v", r.speaker.config)
		}
		r.later(t, 10*time.Second) // the journal is taken for the stream
		if r.speaker.config.ASNumber == 0 {
			t.Error("BGP is not configured from the journal")
		}
	})
}

// allows reports whether a chain of the filter table, of those whose names begin so, lets anything through.
func (r *rig) allows(prefix string) bool {
	for name, chain := range r.chains {
		if strings.HasPrefix(name, "filter "+prefix) && slices.ContainsFunc(chain.Rules, func(rule filter.Rule) bool {
			_, marks := rule.Action.(filter.SetMark)
			return marks
		}) {
			return true
		}
	}
	return false
}
