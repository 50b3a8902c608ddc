package calc_test

import (
	"fmt"
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestAssignmentLimits: every node is told which addresses are reserved, and for how long a released one rests. What
// cannot be read is reported, and frees no address that was reserved.
func TestAssignmentLimits(t *testing.T) {
	e, w, reasons := calc.New(), newWorld(), map[string]string{}
	reservation := func(name string, nets ...string) *v3.IPReservation {
		return &v3.IPReservation{ObjectMeta: meta(name), Spec: v3.IPReservationSpec{ReservedCIDRs: nets}}
	}
	cooldown := func(name string, seconds int32) *v3.IPAMConfiguration {
		return &v3.IPAMConfiguration{ObjectMeta: meta(name),
			Spec: v3.IPAMConfigurationSpec{IPCooldownSeconds: &seconds}}
	}
	check := func(step, want string, unusable ...string) {
		t.Helper()
		d := e.Flush()
		w.apply(t, d)
		for _, v := range d.Problems {
			reasons[v.Name] = v.Reason
			if v.Reason == "" {
				delete(reasons, v.Name)
			}
		}
		got := "nothing"
		if o, is := w.objects[(&wire.IPAM{}).ID()].(*wire.IPAM); is {
			got = fmt.Sprint(o.Reserved, " ", o.Cooldown)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", step, got, want)
		}
		for _, part := range unusable {
			if !strings.Contains(fmt.Sprint(reasons), part) {
				t.Errorf("%s: reported is %v, not %q", step, reasons, part)
			}
		}
		if len(unusable) == 0 && len(reasons) > 0 {
			t.Errorf("%s: reported is %v", step, reasons)
		}
	}
	check("empty", "nothing")
	e.Upsert(reservation("a", "10.0.0.0/25", "fd00::/64"))
	e.Upsert(reservation("b", "10.0.0.128/25", "10.0.0.9/32"))
	check("two", "[10.0.0.0/24 fd00::/64] 0")
	e.Upsert(reservation("b", "10.0.0.300/32", "10.0.0.128/32"))
	check("one network of b cannot be read", "[10.0.0.0/25 10.0.0.128/32 fd00::/64] 0", "spec.reservedCIDRs[0]",
		"10.0.0.300/32")
	e.Refuse(calc.KindIPReservation, "", "a", "cannot be decoded")
	e.Upsert(reservation("b", "10.0.0.128/32"))
	check("a cannot be read", "[10.0.0.0/25 10.0.0.128/32 fd00::/64] 0", "cannot be decoded")
	e.Delete(calc.KindIPReservation, "", "a")
	check("a is gone", "[10.0.0.128/32] 0")
	e.Upsert(cooldown("default", 30))
	e.Upsert(cooldown("other", 50))
	check("cooldown", "[10.0.0.128/32] 30")
	e.Refuse(calc.KindIPAMConfiguration, "", "default", "cannot be decoded")
	check("the configuration cannot be read", "[10.0.0.128/32] 30", "cannot be decoded")
	e.Upsert(cooldown("default", 5000))
	check("too much", "[10.0.0.128/32] 1200", "spec.ipCooldownSeconds: 5000 must be from 0 to 1200")
	e.Delete(calc.KindIPAMConfiguration, "", "default")
	e.Delete(calc.KindIPReservation, "", "b")
	check("nothing is left", "nothing")
}
