package policy_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/policy"
	"github.com/maneki-net/maneki/typha/wire"
)

// state is what the commits of a Program add up to.
type state struct {
	chains     map[filter.ChainID]filter.Chain
	dispatches map[filter.ChainID]filter.Dispatch
	hooks      map[filter.Table]map[filter.Hook]filter.HookRules
}

func newState() *state {
	return &state{map[filter.ChainID]filter.Chain{}, map[filter.ChainID]filter.Dispatch{},
		map[filter.Table]map[filter.Hook]filter.HookRules{}}
}

func (s *state) apply(c filter.Commit) {
	for _, id := range c.Gone {
		delete(s.chains, id)
		delete(s.dispatches, id)
	}
	for _, chain := range c.Chains {
		s.chains[chain.ID()] = chain
	}
	for _, d := range c.Dispatches {
		d.Targets = maps.Clone(d.Targets)
		s.dispatches[d.ID()] = d
	}
	for _, target := range c.Targets {
		if d, ok := s.dispatches[target.Dispatch]; target.Chain == "" {
			delete(d.Targets, target.Interface)
		} else if ok {
			d.Targets[target.Interface] = target.Chain
		}
	}
	maps.Copy(s.hooks, c.Hooks)
}

// TestCommitsAddUp: after random changes, what the commits add up to is what a new Program renders.
func TestCommitsAddUp(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		family := []dataplane.Family{dataplane.IPv4, dataplane.IPv6}[r.IntN(2)]
		p, have, now := policy.NewProgram(), newState(), input{Policies: map[string]*wire.Policy{}}
		settings := renderer(family)
		for range 40 {
			former := now
			now.Endpoints, now.Policies = slices.Clone(now.Endpoints), maps.Clone(now.Policies)
			change(r, &now, &settings, family)
			p.SetRenderer(settings)
			enforce(p, former, now)
			have.apply(p.Commit())
			want := newState()
			want.apply(render(settings, now))
			if diff := cmp.Diff(want, have, cmp.AllowUnexported(state{}),
				cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	}
}

// change makes a random change.
func change(r *rand.Rand, in *input, settings **policy.Renderer, family dataplane.Family) {
	names := []string{"a", "b", "c", "kns.x"}
	tiers := func() []wire.Tier {
		return []wire.Tier{{Name: "default", Ingress: pick(r, names[:3], 2), Egress: pick(r, names[:3], 2),
			DefaultAction: wire.Deny}}
	}
	switch r.IntN(6) {
	case 0, 1:
		device := fmt.Sprint("cali", r.IntN(30))
		in.Endpoints = slices.DeleteFunc(in.Endpoints, func(e policy.Endpoint) bool { return e.Interface == device })
		if r.IntN(3) > 0 {
			e := policy.Endpoint{Interface: device, Addrs: podAddrs[r.IntN(3)], Mark: uint32(r.IntN(3))}
			if r.IntN(4) > 0 {
				e.Policy = &wire.Endpoint{Tiers: tiers(), Profiles: pick(r, names[3:], 1)}
			}
			in.Endpoints = append(in.Endpoints, e)
		}
	case 2:
		name := names[r.IntN(len(names))]
		delete(in.Policies, name)
		if r.IntN(3) > 0 {
			in.Policies[name] = &wire.Policy{Name: name, Ingress: []wire.Rule{randomRule(r)},
				Egress: []wire.Rule{randomRule(r)}}
		}
	case 3:
		in.Hosts = nil
		for _, device := range pick(r, []string{policy.AnyInterface, "eth0"}, 1) {
			in.Hosts = append(in.Hosts, policy.HostEndpoint{Interface: device, Policy: &wire.HostEndpoint{Name: device,
				Tiers: tiers(), Forward: tiers(), Untracked: tiers(), PreDNAT: tiers()}})
		}
	case 4:
		in.NAT.SpareHosts = !in.NAT.SpareHosts
	case 5:
		next := renderer(family)
		if r.IntN(2) == 0 {
			next = ipvsRenderer(family)
		}
		next.AllowReturns = r.IntN(2) == 0
		*settings = next
	}
}

// idle is a Runner without a kernel behind it: every table is empty, and every change succeeds.
type idle struct{ octets int }

func (r *idle) Start(_ context.Context, c iptables.Command) func() ([]byte, int, error) {
	r.octets += len(c.Stdin)
	return func() ([]byte, int, error) { return nil, 1, nil }
}

// manyEndpoints returns endpoints with a policy and a profile.
func manyEndpoints(n int) []policy.Endpoint {
	var list []policy.Endpoint
	for i := range n {
		list = append(list, endpointNumber(i, "knp.default/shop/web"))
	}
	return list
}

func endpointNumber(i int, name string) policy.Endpoint {
	return policy.Endpoint{Interface: fmt.Sprintf("cali%011x", uint64(i)*0x9e3779b97f4a7c15>>20),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 65, byte(i >> 8), byte(i)})},
		Policy: &wire.Endpoint{Profiles: []string{"kns.shop"},
			Tiers: []wire.Tier{{Name: "default", Ingress: []string{name}, DefaultAction: wire.Deny}}}}
}

// programmed returns a program and a backend without a kernel, that enforce n endpoints.
func programmed(t testing.TB, n int) (*policy.Program, *iptables.Backend, *idle) {
	t.Helper()
	run := &idle{}
	backend := iptables.New(iptables.Config{Family: dataplane.IPv4, Variant: iptables.NFT, Runner: run,
		Sets: iptables.NewFake().Sets, Scratch: 0xc0000})
	p := policy.NewProgram()
	p.SetRenderer(renderer(dataplane.IPv4))
	enforce(p, input{}, input{Endpoints: manyEndpoints(n), Policies: shopPolicies})
	if err := backend.Commit(t.Context(), withSets(p.Commit())); err != nil {
		t.Fatal(err)
	}
	return p, backend, run
}

// TestCostOfOneEndpoint: a change of one endpoint renders and writes the same whatever the number of endpoints.
func TestCostOfOneEndpoint(t *testing.T) {
	cost := func(n int) (chains, octets int) {
		p, backend, run := programmed(t, n)
		before := run.octets
		p.SetEndpoint(endpointNumber(n+1, "knp.default/shop/web"))
		c := p.Commit()
		if err := backend.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return len(c.Chains), run.octets - before
	}
	few, fewOctets := cost(10)
	many, octets := cost(5000)
	if few != many || octets > 2*fewOctets {
		t.Errorf("one endpoint more: %d chains and %d octets with 10 endpoints, %d and %d with 5000", few, fewOctets,
			many, octets)
	}
}

// BenchmarkOneEndpoint is one endpoint that comes and goes, in a node that has others.
func BenchmarkOneEndpoint(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, backend, _ := programmed(b, n)
			e := endpointNumber(n+1, "knp.default/shop/web")
			b.ReportAllocs()
			for b.Loop() {
				p.SetEndpoint(e)
				if err := backend.Commit(b.Context(), p.Commit()); err != nil {
					b.Fatal(err)
				}
				p.RemoveEndpoint(e.Interface)
				if err := backend.Commit(b.Context(), p.Commit()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOnePolicy is one policy that changes, in a node that has many endpoints.
func BenchmarkOnePolicy(b *testing.B) {
	for _, n := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, backend, _ := programmed(b, n)
			changed := *shopPolicies["knp.default/shop/web"]
			for b.Loop() {
				changed.Ingress = changed.Ingress[:1+(len(changed.Ingress)+1)%2]
				p.SetPolicy(&changed)
				if err := backend.Commit(b.Context(), p.Commit()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
