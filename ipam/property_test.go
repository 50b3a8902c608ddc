package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/api/ipreservation"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/test/long"
)

// ledger is what all nodes together believe: who owns which address. An address leaves
// it before its release begins, so a second owner is an error whenever it appears.
type ledger struct {
	mu     sync.Mutex
	owners map[netip.Addr]string
	// now is a simulated time. Addresses that were disowned are owned by another handle only after rest.
	now      time.Time
	rest     time.Duration
	disowned map[netip.Addr]disowned
	reserved []netip.Prefix
}

type disowned struct {
	handle string
	at     time.Time
}

// pass lets time pass, and returns it.
func (l *ledger) pass(d time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
	return l.now
}

func (l *ledger) own(handle string, addrs []netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addrs {
		if owner, ok := l.owners[a]; ok && owner != handle {
			return fmt.Errorf("%s was given to %s and to %s", a, owner, handle)
		}
		if last, ok := l.disowned[a]; ok && last.handle != handle && l.now.Sub(last.at) < l.rest {
			return fmt.Errorf("%s was given to %s %v after %s had released it", a, handle, l.now.Sub(last.at),
				last.handle)
		}
		for _, net := range l.reserved {
			if net.Contains(a) {
				return fmt.Errorf("%s was given to %s, and %s is reserved", a, handle, net)
			}
		}
		l.owners[a] = handle
	}
	return nil
}

func (l *ledger) disown(mine func(handle string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a, owner := range l.owners {
		if mine(owner) {
			l.disowned[a] = disowned{owner, l.now}
			delete(l.owners, a)
		}
	}
}

// actor is a node whose agent crashes now and then.
type actor struct {
	host   Host
	store  datastore.Store
	pools  []Pool
	rng    *rand.Rand
	ledger *ledger
	limits Limits
	skew   time.Duration // of the node's clock

	faults *faults
	client *Client
}

func (a *actor) restart(rate int) {
	a.faults = newFaults(a.store, rate, a.rng.Uint64())
	a.client = New(a.faults)
	a.client.SetLimits(func() Limits { return a.limits })
	a.client.now = func() time.Time { return a.ledger.pass(0).Add(a.skew) }
}

func (a *actor) handle() string { return fmt.Sprintf("%s/h%d", a.host.Name, a.rng.IntN(9)) }

func (a *actor) step(t *testing.T) error {
	if a.faults.crashed() {
		a.restart(a.faults.rate)
	}
	a.ledger.pass(time.Duration(a.rng.IntN(1500)) * time.Millisecond)
	switch a.rng.IntN(10) {
	case 0, 1, 2, 3, 4:
		return a.assign(t)
	case 5, 6, 7:
		handles := []string{a.handle(), a.handle()}
		a.ledger.disown(func(h string) bool { return slices.Contains(handles, h) })
		_, err := a.client.Release(t.Context(), a.host.Name, handles...)
		return a.expected(err)
	case 8:
		addr, err := a.client.EnsureTunnelAddress(t.Context(), a.host, a.pools, encap.VXLAN, IPv4)
		if err == nil && a.limits.Reserved.Contains(addr) {
			return fmt.Errorf("the tunnel address %s is reserved", addr)
		}
		return a.expected(err)
	}
	if a.rng.IntN(4) > 0 {
		return nil
	}
	// The node goes away: its client is no more when the controller releases it.
	a.ledger.disown(func(h string) bool { return h[:2] == a.host.Name })
	a.restart(a.faults.rate)
	_, err := a.client.ReleaseHost(t.Context(), a.host.Name, isGone)
	return a.expected(err)
}

func (a *actor) assign(t *testing.T) error {
	var requests []Request
	for i := range 1 + a.rng.IntN(4) {
		handle := fmt.Sprintf("%s/h%d", a.host.Name, (a.rng.IntN(3)+3*i)%9)
		families := [][]Family{{IPv4}, {IPv6}, {IPv4, IPv6}}[a.rng.IntN(3)]
		if slices.ContainsFunc(requests, func(r Request) bool { return r.Handle == handle }) {
			continue
		}
		requests = append(requests, Request{Handle: handle, Families: families})
	}
	var errs []error
	for i, result := range a.client.Assign(t.Context(), a.host, a.pools, requests) {
		errs = append(errs, a.expected(result.Err))
		if result.Err == nil {
			errs = append(errs, a.ledger.own(requests[i].Handle, result.Addrs()))
		}
	}
	return errors.Join(errs...)
}

// expected passes on only errors that no fault and no full pool explains.
func (a *actor) expected(err error) error {
	if errors.Is(err, errCrash) || errors.Is(err, datastore.ErrUnavailable) || errors.Is(err, ErrNoAddress) {
		return nil
	}
	return err
}

// TestNeverTwoOwners lets nodes assign and release concurrently in pools that are too
// small for them, with conflicts, lost answers and crashes between any two writes. Then
// everything is repaired, and everything is released.
func TestNeverTwoOwners(t *testing.T) {
	for seed := range uint64(long.Or(3000, 150)) {
		store := memory.New()
		actors := runActors(t, store, seed)
		checkRepaired(t, store, seed, actors)
		for _, a := range actors {
			for i := range 9 {
				if _, err := a.client.Release(t.Context(), a.host.Name,
					fmt.Sprintf("%s/h%d", a.host.Name, i)); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if _, err := a.client.ReleaseHost(t.Context(), a.host.Name, isGone); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		actors[0].ledger.pass(time.Hour) // all that was released has rested
		if err := freeRested(t, store, actors[0].client); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if blocks, affinities := blocksOf(t, store), affinitiesOf(t, store); len(blocks)+len(affinities) > 0 {
			t.Fatalf("seed %d: left behind %v and %v", seed, blocks, affinities)
		}
	}
}

// freeRested does what the collector does.
func freeRested(t *testing.T, store datastore.Store, c *Client) error {
	var blocks []*v3.IPAMBlock
	for _, b := range blocksOf(t, store) {
		blocks = append(blocks, b.IPAMBlock)
	}
	_, err := c.FreeRested(t.Context(), blocks...)
	return err
}

func runActors(t *testing.T, store datastore.Store, seed uint64) []*actor {
	pools := []Pool{
		{Name: "four", CIDR: prefix("10.0.0.0/28"), BlockSize: 30},
		{Name: "six", CIDR: prefix("fd00::/123"), BlockSize: 125},
	}
	shared := &ledger{owners: map[netip.Addr]string{}, disowned: map[netip.Addr]disowned{}, now: time.Unix(1e9, 0)}
	var limits Limits
	const skew = 2 * time.Second
	if seed%3 > 0 {
		limits.Cooldown, shared.rest = 10*time.Second, 10*time.Second-2*skew
	}
	if seed%2 > 0 {
		shared.reserved = []netip.Prefix{prefix("10.0.0.1/32"), prefix("10.0.0.2/31"), prefix("10.0.0.8/30"),
			prefix("fd00::10/124")}
		limits.Reserved = ipreservation.Merge(shared.reserved)
	}
	var actors []*actor
	var running sync.WaitGroup
	for i := range uint64(4) {
		a := &actor{host: Host{Name: fmt.Sprint("n", i)}, store: store, pools: pools, ledger: shared,
			rng: rand.New(rand.NewPCG(seed, i)), limits: limits}
		a.skew = time.Duration(a.rng.Int64N(int64(2*skew))) - skew
		a.restart(15)
		actors = append(actors, a)
		running.Go(func() {
			for step := range 60 {
				if err := a.step(t); err != nil {
					t.Errorf("seed %d, %s, step %d: %v", seed, a.host.Name, step, err)
					return
				}
			}
		})
	}
	running.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return actors
}

// checkRepaired restarts every node without faults and compares store and ledger.
func checkRepaired(t *testing.T, store datastore.Store, seed uint64, actors []*actor) {
	t.Helper()
	for _, a := range actors {
		a.restart(0)
		a.client.Assign(t.Context(), a.host, a.pools, nil)
	}
	if diff := cmp.Diff(wantedAffinities(t, store), affinitiesOf(t, store)); diff != "" {
		t.Fatalf("seed %d: affinities (-by blocks +stored):\n%s", seed, diff)
	}
	inBlocks := map[netip.Addr]string{}
	held := map[string]int{}
	for _, b := range blocksOf(t, store) {
		for _, x := range b.Allocations(func(block.Allocation) bool { return true }) {
			if other, twice := inBlocks[x.Addr]; twice {
				t.Fatalf("seed %d: %s is in two blocks, for %s and %s", seed, x.Addr, other, x.Handle)
			}
			inBlocks[x.Addr] = x.Handle
			held[fmt.Sprint(x.Handle, FamilyOf(x.Addr))]++
		}
	}
	for handle, count := range held {
		if count > 1 {
			t.Errorf("seed %d: %s holds %d addresses", seed, handle, count)
		}
	}
	for a, owner := range actors[0].ledger.owners {
		if inBlocks[a] != owner {
			t.Errorf("seed %d: %s of %s is lost: stored for %q", seed, a, owner, inBlocks[a])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
