package linux

import (
	"maps"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// takeSets makes the sets of policies desired, as far as they changed. Of their members only the drivers keep a copy.
func (d *Dataplane) takeSets(changes boundary.Desired) {
	if changes.Whole {
		for id := range d.room.sizes {
			if _, desired := changes.Sets.Upserts[id]; !desired {
				d.removeSet(id)
			}
		}
	}
	for id := range changes.Sets.Deletes {
		d.removeSet(id)
	}
	for id, change := range changes.Sets.Upserts {
		d.changeSet(id, change)
	}
}

func (d *Dataplane) removeSet(id string) {
	d.room.remove(id)
	for _, f := range d.families {
		f.change(filter.SetChange{ID: id, Gone: true})
	}
}

func (d *Dataplane) changeSet(id string, change boundary.SetChange) {
	size := d.room.sizes[id]
	if w := change.Whole; w != nil {
		size = len(w.Nets) + len(w.Ports)
	}
	for _, c := range change.Changes {
		size += len(c.AddedNets) + len(c.AddedPorts) - len(c.RemovedNets) - len(c.RemovedPorts)
	}
	d.room.resize(id, size)
	next := filter.SetChange{ID: id}
	if w := change.Whole; w != nil {
		next.Whole = &filter.Set{Type: setType(w.Type), Members: members(w.Nets, w.Ports)}
	}
	d.changeAll(next)
	for _, c := range change.Changes {
		d.changeAll(filter.SetChange{ID: id, Removed: members(c.RemovedNets, c.RemovedPorts),
			Added: members(c.AddedNets, c.AddedPorts)})
	}
}

// changeAll makes a change of a set in every family, each of which takes its own members.
func (d *Dataplane) changeAll(c filter.SetChange) {
	for _, f := range d.families {
		f.change(c)
	}
}

// change makes a change of a set part of the next commit.
func (f *family) change(c filter.SetChange) { f.next.Sets = append(f.next.Sets, c) }

func setType(t wire.SetType) filter.SetType {
	if t == wire.SetPort {
		return filter.SetPorts
	}
	return filter.SetNets
}

func members(nets []netip.Prefix, ports []wire.PortMember) []filter.Member {
	list := make([]filter.Member, 0, len(nets)+len(ports))
	for _, n := range nets {
		list = append(list, filter.Member{Net: n})
	}
	for _, p := range ports {
		list = append(list, filter.Member{Net: netip.PrefixFrom(p.Addr, p.Addr.BitLen()), Protocol: p.Protocol,
			Port: p.Port})
	}
	return list
}

func hostMembers(addrs []netip.Addr) []filter.Member {
	var list []filter.Member
	for _, addr := range addrs {
		list = append(list, filter.Member{Net: netip.PrefixFrom(addr, addr.BitLen())})
	}
	return list
}

// setNetworks makes the sets desired that the chains name besides those of policies.
func (d *Dataplane) setNetworks() {
	for _, f := range d.families {
		sets := map[string][]filter.Member{policy.SetAllPools: members(d.networks.Pools, nil),
			policy.SetMasqPools: members(d.networks.Masquerade, nil), policy.SetAllHosts: hostMembers(d.networks.Nodes)}
		maps.Copy(sets, d.tunnelSets(f.Family))
		if d.settings.IPVS {
			sets[policy.SetThisHost] = members(d.settings.Own, nil)
		} else {
			f.change(filter.SetChange{ID: policy.SetThisHost, Gone: true})
		}
		for id, list := range sets {
			f.change(filter.SetChange{ID: id, Whole: &filter.Set{Members: list}})
		}
	}
}
