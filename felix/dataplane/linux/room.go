package linux

import "github.com/maneki-net/maneki/felix/policy"

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

// room is how much of the kernel's room for sets the desired ones take.
type room struct {
	sizes    map[string]int // members of each set
	members  int            // the sum of sizes
	changed  bool           // sets or policies changed since the room was allotted
	withheld bool           // the kernel has no room for some sets
}

func newRoom() room { return room{sizes: map[string]int{}} }

func (r *room) resize(id string, size int) {
	r.members += size - r.sizes[id]
	r.sizes[id] = size
	r.changed = true
}

func (r *room) remove(id string) {
	r.members -= r.sizes[id]
	delete(r.sizes, id)
	r.changed = true
}

// allotRoom keeps sets out of the kernel that it has no room for. So it does not depend on the order of writes which
// policies lack their sets. Rules that name such a set deny.
func (d *Dataplane) allotRoom() {
	if !d.room.changed {
		return
	}
	d.room.changed = false
	room := policy.Room{Sets: (kernelSets - reservedSets) / max(1, len(d.families)), Members: maxMembers}
	if room.Holds(policy.Room{Sets: len(d.room.sizes), Members: d.room.members}) && !d.room.withheld {
		return
	}
	refused := policy.Allot(d.policies, d.room.sizes, room)
	if refused == nil {
		refused = map[string]error{} // which ends the former list
	}
	d.room.withheld = len(refused) > 0
	for _, f := range d.families {
		f.next.Withheld = refused
	}
}
