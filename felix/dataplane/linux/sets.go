package linux

import (
	"maps"
	"net/netip"

	"github.com/maneki-net/maneki/felix/dataplane/boundary"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
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
		f.Sets.Remove(ipset.SetName(f.Family, id))
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
	for _, f := range d.families {
		kernel := ipset.SetName(f.Family, id)
		if w := change.Whole; w != nil {
			f.Sets.Set(ipset.Set{Name: kernel, Type: setType(w.Type), Members: members(w.Nets, w.Ports)})
		}
		for _, c := range change.Changes {
			f.Sets.RemoveMembers(kernel, members(c.RemovedNets, c.RemovedPorts)...)
			f.Sets.AddMembers(kernel, members(c.AddedNets, c.AddedPorts)...)
		}
	}
}

func setType(t wire.SetType) ipset.Type {
	if t == wire.SetPort {
		return ipset.HashIPPort
	}
	return ipset.HashNet
}

func members(nets []netip.Prefix, ports []wire.PortMember) []ipset.Member {
	list := make([]ipset.Member, 0, len(nets)+len(ports))
	for _, n := range nets {
		list = append(list, ipset.Member{Net: n})
	}
	for _, p := range ports {
		list = append(list, ipset.Member{Net: netip.PrefixFrom(p.Addr, p.Addr.BitLen()), Protocol: p.Protocol, Port: p.Port})
	}
	return list
}

func hostMembers(addrs []netip.Addr) []ipset.Member {
	var list []ipset.Member
	for _, addr := range addrs {
		list = append(list, ipset.Member{Net: netip.PrefixFrom(addr, addr.BitLen())})
	}
	return list
}

// setNetworks makes the sets desired that the chains name besides those of policies.
func (d *Dataplane) setNetworks() {
	for _, f := range d.families {
		sets := map[string][]ipset.Member{policy.SetAllPools: members(d.networks.Pools, nil),
			policy.SetMasqPools: members(d.networks.Masquerade, nil), policy.SetAllHosts: hostMembers(d.networks.Nodes)}
		maps.Copy(sets, d.tunnelSets(f.Family))
		if d.settings.IPVS {
			sets[policy.SetThisHost] = members(d.settings.Own, nil)
		} else {
			f.Sets.Remove(ipset.SetName(f.Family, policy.SetThisHost))
		}
		for id, list := range sets {
			f.Sets.Set(ipset.Set{Name: ipset.SetName(f.Family, id), Type: ipset.HashNet, Members: list})
		}
	}
}
