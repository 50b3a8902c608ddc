package transport

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// nodeModel is what a node has after the commits that it was given. Applying one checks what a node relies on.
type nodeModel struct {
	state
	t        *testing.T
	versions map[string]string
	number   uint64
}

func newNodeModel(t *testing.T) *nodeModel {
	return &nodeModel{t: t, state: newState(), versions: map[string]string{}}
}

func (m *nodeModel) apply(c wire.Commit) {
	m.t.Helper()
	if c.Number <= m.number {
		m.t.Errorf("commit %d after %d", c.Number, m.number)
	}
	m.number = c.Number
	for kind, version := range c.Versions {
		if hub.CompareRevisions(version, m.versions[kind]) < 0 {
			m.t.Errorf("%s goes back from %s to %s", kind, m.versions[kind], version)
		}
		m.versions[kind] = version
	}
	if !slices.IsSortedFunc(c.Upserts, func(a, b wire.Object) int { return a.ID().Compare(b.ID()) }) ||
		!slices.IsSortedFunc(c.Deletes, func(a, b wire.ID) int { return b.Compare(a) }) {
		m.t.Error("the commit is not in a safe order")
	}
	for _, o := range c.Upserts {
		m.objects[o.ID()] = o
		if s, ok := o.(*wire.IPSet); ok {
			m.sets[s.Name] = map[netip.Prefix]bool{}
			for _, n := range s.Nets {
				m.sets[s.Name][n] = true
			}
		}
	}
	for _, d := range c.Sets {
		m.change(d)
	}
	for _, id := range c.Deletes {
		if m.objects[id] == nil {
			m.t.Errorf("%s is deleted and was not there", id)
		}
		delete(m.objects, id)
		if id.Kind == wire.KindIPSet {
			delete(m.sets, id.Name)
		}
	}
	m.checkReferences()
}

func (m *nodeModel) change(d wire.SetDelta) {
	set := m.sets[d.Name]
	if set == nil {
		m.t.Errorf("change of set %s, which is not there", d.Name)
		return
	}
	for _, n := range d.AddedNets {
		if set[n] {
			m.t.Errorf("%s is added to set %s, which has it", n, d.Name)
		}
		set[n] = true
	}
	for _, n := range d.RemovedNets {
		if !set[n] {
			m.t.Errorf("%s is removed from set %s, which has it not", n, d.Name)
		}
		delete(set, n)
	}
}

// checkReferences: what is named is there.
func (m *nodeModel) checkReferences() {
	for id, o := range m.objects {
		switch o := o.(type) {
		case *wire.Policy:
			for _, r := range slices.Concat(o.Ingress, o.Egress) {
				for _, set := range slices.Concat(r.Src.Sets, r.Dst.Sets, r.Src.NotSets, r.Dst.NotSets) {
					if m.sets[set] == nil {
						m.t.Errorf("%s names set %s, which is not there", id, set)
					}
				}
			}
		case *wire.Endpoint:
			names := o.Profiles
			for _, tier := range o.Tiers {
				names = slices.Concat(names, tier.Ingress, tier.Egress)
			}
			for _, name := range names {
				if m.objects[wire.ID{Kind: wire.KindPolicy, Name: name}] == nil {
					m.t.Errorf("%s names policy %s, which is not there", id, name)
				}
			}
		}
	}
}
