package calc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestPoolThatCannotBeUsedKeepsItsRoutes: whatever is wrong with a pool, its pods keep their routes, and it gives no
// new addresses. The blocks that are used follow from the pools that there are now, in whatever order they came.
func TestPoolThatCannotBeUsedKeepsItsRoutes(t *testing.T) {
	pool := func(name, cidr string) *v3.IPPool {
		return &v3.IPPool{ObjectMeta: meta(name), Spec: v3.IPPoolSpec{CIDR: cidr, VXLANMode: v3.VXLANModeAlways}}
	}
	badMode := pool("p", "10.244.0.0/16")
	badMode.Spec.IPIPMode = "Sometimes"
	const own, other, outside = "10.244.0.0/30 n1", "10.9.0.0/30 n2", "8.8.8.8/30 n3"
	for name, tt := range map[string]struct {
		damage func(*calc.Engine)
		routes []string
		fresh  bool // an engine that never could read the pool hands it out
	}{
		"mode":      {func(e *calc.Engine) { e.Upsert(badMode) }, []string{own, other}, true},
		"host bits": {func(e *calc.Engine) { e.Upsert(pool("p", "10.244.0.1/16")) }, []string{own, other}, true},
		"range":     {func(e *calc.Engine) { e.Upsert(pool("p", "10.244.0.0")) }, []string{own, other, outside}, false},
		"all": {func(e *calc.Engine) { e.Refuse(calc.KindIPPool, "", "p", "cannot be decoded") },
			[]string{own, other, outside}, false},
	} {
		others := []func(*calc.Engine){func(e *calc.Engine) { e.Upsert(pool("q", "10.9.0.0/16")) }}
		for cidr, node := range map[string]string{"10.244.0.0/30": "n1", "10.9.0.0/30": "n2", "8.8.8.8/30": "n3"} {
			others = append(others, func(e *calc.Engine) { e.Upsert(blockAt(cidr, 1, "host:"+node, nil)) })
		}
		for at := range len(others) + 2 {
			t.Run(fmt.Sprintf("%s, %d", name, at), func(t *testing.T) {
				e, w, reasons := calc.New(), newWorld(), map[string]string{}
				flush := func() {
					d := e.Flush()
					w.apply(t, d)
					for _, v := range d.Problems {
						reasons[v.Name] = v.Reason
					}
				}
				readBefore := at > len(others)
				if readBefore {
					e.Upsert(pool("p", "10.244.0.0/16"))
				}
				for n, add := range others {
					if n == at {
						tt.damage(e)
					}
					add(e)
					flush()
				}
				if at >= len(others) {
					tt.damage(e)
				}
				flush()
				want := slices.Sorted(slices.Values(tt.routes))
				if got := routes(w); !slices.Equal(got, want) {
					t.Errorf("routes %v, want %v", got, want)
				}
				p, is := w.objects[wire.ID{Kind: wire.KindPool, Name: "p"}].(*wire.Pool)
				switch {
				case is != (tt.fresh || readBefore):
					t.Errorf("the pool is handed out: %v", is)
				case is && (!p.Disabled || p.Closed == "" || p.VXLAN != wire.EncapAlways ||
					p.CIDR.String() != "10.244.0.0/16"):
					t.Errorf("the pool is %+v", p)
				}
				if q := w.objects[wire.ID{Kind: wire.KindPool, Name: "q"}].(*wire.Pool); q.Disabled {
					t.Errorf("the other pool is %+v", q)
				}
				if reasons["p"] == "" {
					t.Error("nothing is said of the pool")
				}
				e.Upsert(pool("p", "10.244.0.0/16"))
				flush()
				if got := routes(w); reasons["p"] != "" || !slices.Equal(got, []string{own, other}) {
					t.Errorf("mended: routes %v, reason %q", got, reasons["p"])
				}
				tt.damage(e)
				e.Delete(calc.KindIPPool, "", "p")
				flush()
				if got := routes(w); !slices.Equal(got, []string{other}) {
					t.Errorf("deleted: routes %v", got)
				}
			})
		}
	}
}

// TestPoolThatCannotWork: nodes assign no addresses of a pool of IPIP or of load balancers, and know why. Blocks that
// are in use keep their routes.
func TestPoolThatCannotWork(t *testing.T) {
	for field, spec := range map[string]v3.IPPoolSpec{
		"":                 {},
		"spec.ipipMode":    {IPIPMode: v3.IPIPModeCrossSubnet},
		"spec.allowedUses": {AllowedUses: []v3.IPPoolAllowedUse{v3.IPPoolAllowedUseLoadBalancer}},
	} {
		spec.CIDR = "10.244.0.0/16"
		w, _ := compute(t, &v3.IPPool{ObjectMeta: meta("p"), Spec: spec}, blockAt("10.244.0.0/30", 1, "host:n1", nil))
		p := w.objects[wire.ID{Kind: wire.KindPool, Name: "p"}].(*wire.Pool)
		if p.Disabled != (field != "") || !strings.HasPrefix(p.Closed, field) {
			t.Errorf("%s: the pool is %+v", field, p)
		}
		if got := routes(w); !slices.Equal(got, []string{"10.244.0.0/30 n1"}) {
			t.Errorf("%s: routes %v", field, got)
		}
	}
}
