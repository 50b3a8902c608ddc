package topology

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/ipreservation"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// assignment is what restricts the assignment of addresses beside the pools. A network of an IPReservation that cannot
// be read reserves nothing; admission refuses it. If an object cannot be decoded, its last readable state stays in
// effect. A Topology that never could decode it restricts nothing by it.
type assignment struct {
	reserved map[string][]netip.Prefix // by IPReservation
	cooldown uint32                    // seconds
	changed  bool
}

// ipamConfiguration is the name of the only IPAMConfiguration.
const ipamConfiguration = "default"

// maxCooldown is the most that ipCooldownSeconds can be.
const maxCooldown = 1200

// SetReservation adds or changes an IPReservation. The error says which networks of it cannot be read.
func (t *Topology) SetReservation(o *v3.IPReservation) error {
	nets, err := ipreservation.Read(o)
	t.assignment.reserved[o.Name], t.assignment.changed = nets, true
	return err
}

// DeleteReservation removes an IPReservation.
func (t *Topology) DeleteReservation(name string) {
	delete(t.assignment.reserved, name)
	t.assignment.changed = true
}

// SetIPAMConfiguration adds or changes an IPAMConfiguration. The error names a setting that counts as another value
// than it has.
func (t *Topology) SetIPAMConfiguration(o *v3.IPAMConfiguration) error {
	if o.Name != ipamConfiguration {
		return nil
	}
	seconds := int32(0)
	if o.Spec.IPCooldownSeconds != nil {
		seconds = *o.Spec.IPCooldownSeconds
	}
	valid := min(max(seconds, 0), maxCooldown)
	t.assignment.cooldown, t.assignment.changed = uint32(valid), true
	if valid != seconds {
		return fmt.Errorf("spec.ipCooldownSeconds: %d must be from 0 to %d; it counts as %d", seconds, maxCooldown,
			valid)
	}
	return nil
}

// DeleteIPAMConfiguration removes an IPAMConfiguration.
func (t *Topology) DeleteIPAMConfiguration(name string) {
	if name == ipamConfiguration {
		t.assignment.cooldown, t.assignment.changed = 0, true
	}
}

// flushAssignment outputs what restricts the assignment of addresses. Without restrictions there is no object.
func (t *Topology) flushAssignment() {
	if !t.assignment.changed {
		return
	}
	t.assignment.changed = false
	reserved := slices.Concat(slices.Collect(maps.Values(t.assignment.reserved))...)
	o := &wire.IPAM{Reserved: ipreservation.Merge(reserved), Cooldown: t.assignment.cooldown}
	if len(o.Reserved) == 0 && o.Cooldown == 0 {
		t.remove(o.ID())
		return
	}
	t.set(o)
}
