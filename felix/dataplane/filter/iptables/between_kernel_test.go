package iptables

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestNothingPassesBetween: while commits change rules and sets of a real kernel to and fro, packets that pass neither
// before nor after do not pass, and packets that pass before and after do.
//
// Before, policy allows what goes to set "a", which the first receiver is not in. Afterwards the first receiver is in
// it, but a rule denies that. The second receiver moves from set "a" to set "b", both of which are allowed.
func TestNothingPassesBetween(t *testing.T) {
	for _, v := range []Variant{NFT, Legacy} {
		t.Run(string(v), func(t *testing.T) {
			kerneltest.Enter(t)
			kerneltest.Run(t, "ip link set lo up")
			never, always := listen(t, "127.0.0.2"), listen(t, "127.0.0.3")
			b := New(Config{Family: dataplane.IPv4, Variant: v, Runner: Exec{}, Sets: dial(t, dataplane.IPv4),
				Scratch: 0xc0000})
			first, second := member("127.0.0.2"), member("127.0.0.3")
			c := filter.Commit{
				Sets: []filter.SetChange{
					{ID: "a", Whole: &filter.Set{Members: second}}, {ID: "b", Whole: &filter.Set{}},
					{ID: "denied", Whole: &filter.Set{Members: first}}},
				Chains: []filter.Chain{guardedChain(false)},
				Hooks: map[filter.Table]map[filter.Hook]filter.HookRules{
					filter.Filter: {filter.Output: {First: []filter.Rule{{Action: filter.Jump{Chain: "cali-o"}}}}}},
			}
			for i := range 60 {
				if err := b.Commit(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					never.flood(t)
					always.flood(t)
				}
				a, other := filter.SetChange{ID: "a", Added: first, Removed: second},
					filter.SetChange{ID: "b", Added: second}
				if i%2 == 1 {
					a.Added, a.Removed = a.Removed, a.Added
					other.Added, other.Removed = other.Removed, other.Added
				}
				c = filter.Commit{Sets: []filter.SetChange{a, other}, Chains: []filter.Chain{guardedChain(i%2 == 0)}}
			}
			never.stop()
			always.stop()
			if sent, got := never.sent.Load(), never.received.Load(); sent < 1000 || got != 0 {
				t.Errorf("of %d packets that pass neither before nor after, %d passed", sent, got)
			}
			if refused := always.refused.Load(); always.sent.Load() < 1000 || refused != 0 {
				t.Errorf("of %d packets that pass before and after, %d were dropped", always.sent.Load(), refused)
			}
		})
	}
}

func member(addr string) []filter.Member {
	return []filter.Member{{Net: netip.PrefixFrom(netip.MustParseAddr(addr), 32)}}
}

// guardedChain allows what goes to one of two sets, and, with deny, denies before that what goes to another.
func guardedChain(deny bool) filter.Chain {
	to := func(id string) filter.Match {
		return filter.Match{Protocol: 17, Dest: filter.End{Sets: []string{id},
			Ports: []filter.PortRange{{First: 9999, Last: 9999}}}}
	}
	var rules []filter.Rule
	if deny {
		rules = append(rules, filter.Rule{Match: to("denied"), Action: filter.Drop{}})
	}
	return filter.Chain{Table: filter.Filter, Name: "cali-o", Rules: append(rules,
		filter.Rule{Match: to("a"), Action: filter.Accept{}}, filter.Rule{Match: to("b"), Action: filter.Accept{}},
		filter.Rule{Match: filter.Match{Protocol: 17}, Action: filter.Drop{}})}
}

// receiver counts the packets that are sent to an address, and those that come.
type receiver struct {
	to                      *net.UDPConn
	from                    *net.UDPConn
	sent, refused, received atomic.Int64
	done                    chan struct{}
	ended                   chan struct{}
}

func listen(t *testing.T, addr string) *receiver {
	t.Helper()
	r := &receiver{done: make(chan struct{}), ended: make(chan struct{}, 2)}
	at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 9999))
	var err error
	r.to, err = net.ListenUDP("udp4", at)
	if err != nil {
		t.Fatal(err)
	}
	r.from, err = net.DialUDP("udp4", nil, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.to.Close(); r.from.Close() })
	return r
}

// flood sends packets until stop. A packet that a rule of OUTPUT drops is an error of its sender.
func (r *receiver) flood(t *testing.T) {
	t.Helper()
	go func() {
		defer func() { r.ended <- struct{}{} }()
		for {
			select {
			case <-r.done:
				return
			default:
			}
			r.sent.Add(1)
			if _, err := r.from.Write([]byte("x")); err != nil {
				r.refused.Add(1)
			}
		}
	}()
	go func() {
		defer func() { r.ended <- struct{}{} }()
		buffer := make([]byte, 16)
		for {
			if _, err := r.to.Read(buffer); err != nil {
				return
			}
			r.received.Add(1)
		}
	}()
}

// stop ends the flood, and waits until what was sent has been counted.
func (r *receiver) stop() {
	close(r.done)
	<-r.ended
	r.to.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // Read tells
	<-r.ended
}
