package calc

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/ipreservation"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// assignment is what restricts the assignment of addresses beside the pools. A network of an IPReservation that cannot be
// read is reported, and reserves nothing; admission refuses it. Of an object that cannot be decoded the last readable state
// stays in effect. An Engine that never could decode it restricts nothing by it.
type assignment struct {
	reserved map[string][]netip.Prefix // by IPReservation
	cooldown uint32                    // seconds
	dirty    bool
}

// ipamConfiguration is the name of the only IPAMConfiguration.
const ipamConfiguration = "default"

// maxCooldown is the most that ipCooldownSeconds can be.
const maxCooldown = 1200

func (e *Engine) upsertReservation(o *v3.IPReservation) {
	nets, err := ipreservation.Read(o)
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	e.problems.set(KindIPReservation, "", o.Name, reason)
	e.assignment.reserved[o.Name], e.assignment.dirty = nets, true
}

func (e *Engine) deleteReservation(name string) {
	delete(e.assignment.reserved, name)
	e.assignment.dirty = true
}

func (e *Engine) upsertIPAMConfiguration(o *v3.IPAMConfiguration) {
	if o.Name != ipamConfiguration {
		return
	}
	seconds, reason := int32(0), ""
	if o.Spec.IPCooldownSeconds != nil {
		seconds = *o.Spec.IPCooldownSeconds
	}
	if valid := min(max(seconds, 0), maxCooldown); valid != seconds {
		reason = fmt.Sprintf("spec.ipCooldownSeconds: %d must be from 0 to %d; it counts as %d", seconds, maxCooldown, valid)
		seconds = valid
	}
	e.problems.set(KindIPAMConfiguration, "", o.Name, reason)
	e.assignment.cooldown, e.assignment.dirty = uint32(seconds), true
}

func (e *Engine) deleteIPAMConfiguration(name string) {
	if name == ipamConfiguration {
		e.assignment.cooldown, e.assignment.dirty = 0, true
	}
}

// flushAssignment hands out what restricts the assignment of addresses. Without restrictions there is nothing.
func (e *Engine) flushAssignment() {
	if !e.assignment.dirty {
		return
	}
	e.assignment.dirty = false
	o := &wire.IPAM{Reserved: ipreservation.Merge(slices.Concat(slices.Collect(maps.Values(e.assignment.reserved))...)),
		Cooldown: e.assignment.cooldown}
	if len(o.Reserved) == 0 && o.Cooldown == 0 {
		e.out.remove(o.ID())
		return
	}
	e.out.set(o)
}
