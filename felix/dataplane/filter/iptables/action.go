package iptables

import (
	"fmt"

	"github.com/maneki-net/maneki/felix/dataplane/filter"
)

// target returns the arguments of an action; no action has none.
func target(a filter.Action) string {
	switch a := a.(type) {
	case filter.Accept:
		return "-j ACCEPT"
	case filter.Drop:
		return "-j DROP"
	case filter.Reject:
		return "-j REJECT"
	case filter.Return:
		return "-j RETURN"
	case filter.NoTrack:
		return "-j CT --notrack"
	case filter.Jump:
		return "-j " + a.Chain
	case filter.Goto:
		return "-g " + a.Chain
	case filter.SetMark:
		return mark(a.Value, a.Mask)
	case filter.ClearMark:
		return mark(0, a.Mask)
	case filter.Masquerade:
		return "-j MASQUERADE --random-fully"
	case filter.SNAT:
		return "-j SNAT --to-source " + a.To.String() + " --random-fully"
	case filter.Log:
		s := "-j LOG --log-prefix " + quote(a.Prefix+" ")
		if a.Level != 0 {
			s += fmt.Sprintf(" --log-level %d", a.Level)
		}
		return s
	}
	return ""
}

// mark returns the arguments of the target that sets the bits in mask of a packet's mark to value.
func mark(value, mask uint32) string { return fmt.Sprintf("-j MARK --set-xmark %#x/%#x", value, mask) }

// hasMark returns the match of packets whose mark, of the bits in mask, is value.
func hasMark(value, mask uint32) string { return fmt.Sprintf("-m mark --mark %#x/%#x", value, mask) }
