package felix

import (
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/policy"
)

const (
	// kernelSets is how many IP sets a network namespace may have. Their numbers have 16 bits, and one number means
	// none (ip_set_core.c, IPSET_INVALID_ID).
	kernelSets = 65_534
	// reservedSets is the number of sets left for the chains' own sets and for other programs.
	reservedSets = 4_096
	// maxMembers is how many members the sets of policies may have together. They take about 470 MiB in Felix, 234
	// octets each as measured; the chart's memory limit allows for that. They take about 60 MiB in the kernel:
	// 1,000,000 members of one hash:net took 30,158,640 octets as measured with ipset list -t.
	maxMembers = 1 << 21
)

// withhold keeps sets out of the kernel that it has no room for. So it does not depend on the order of writes which
// policies lack their sets. Rules that name such a set deny.
func (a *Agent) withhold() {
	if len(a.state.dirty.sets) == 0 && !a.state.dirty.rules {
		return
	}
	families, all := max(1, len(a.opts.Drivers.Families)), policy.Room{}
	for _, set := range a.state.sets {
		all.Sets, all.Members = all.Sets+1, all.Members+set.size
	}
	room := policy.Room{Sets: (kernelSets - reservedSets) / families, Members: maxMembers}
	if room.Holds(all) && !a.withheld {
		return
	}
	sizes := make(map[string]int, len(a.state.sets))
	for name, set := range a.state.sets {
		sizes[name] = set.size
	}
	refused := policy.Allot(a.state.policies, sizes, room)
	a.withheld = len(refused) > 0
	for _, f := range a.opts.Drivers.Families {
		reasons := make(map[string]error, len(refused))
		for name, why := range refused {
			reasons[ipset.SetName(f.Family, name)] = why
		}
		f.Sets.Withhold(reasons)
	}
}
