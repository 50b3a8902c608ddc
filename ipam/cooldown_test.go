package ipam

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/ipam/block"
)

// cooling is a cluster with a pool of four addresses, in which released addresses rest for 30 seconds.
type cooling struct {
	t     *testing.T
	store datastore.Store
	now   time.Time
	pool  Pool
}

func newCooling(t *testing.T) *cooling {
	c := &cooling{t: t, store: memory.New(), now: time.Date(2026, 1, 1, 0, 0, 0, 900e6, time.UTC),
		pool: Pool{Name: "p", CIDR: prefix("10.0.0.0/30"), BlockSize: 30}}
	c.configure(30)
	return c
}

func (c *cooling) configure(seconds int32) {
	c.t.Helper()
	o := &v3.IPAMConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v3.IPAMConfigurationSpec{IPCooldownSeconds: &seconds}}
	err := c.store.Delete(c.t.Context(), datastore.IPAMConfigurations, datastore.KeyOf(o), datastore.Preconditions{})
	if err == nil || errors.Is(err, datastore.ErrNotFound) {
		_, err = c.store.Create(c.t.Context(), datastore.IPAMConfigurations, o)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// client makes a client whose clock is ahead by some time.
func (c *cooling) client(ahead time.Duration) *Client {
	client := New(c.store)
	client.now = func() time.Time { return c.now.Add(ahead) }
	return client
}

func (c *cooling) assign(client *Client, host, handle string, want ...netip.Addr) Result {
	request := Request{Handle: handle, Families: []Family{IPv4}, Addrs: want}
	return client.Assign(c.t.Context(), Host{Name: host}, []Pool{c.pool}, []Request{request})[0]
}

// TestCooldown: a released address is free again after the cooldown, and not before.
func TestCooldown(t *testing.T) {
	c := newCooling(t)
	client := c.client(0)
	for _, handle := range []string{"a", "b", "c", "d"} {
		if r := c.assign(client, "n", handle); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	freed, err := client.Release(t.Context(), "n", "b")
	if err != nil || len(freed) != 1 {
		t.Fatalf("released %v, %v", freed, err)
	}
	if again, err := client.Release(t.Context(), "n", "b"); err != nil || len(again) > 0 {
		t.Errorf("released again: %v, %v", again, err)
	}
	c.now = c.now.Add(30*time.Second - time.Millisecond)
	r := c.assign(client, "n", "e")
	if !errors.Is(r.Err, ErrNoAddress) || !strings.Contains(r.Err.Error(),
		"1 released addresses rest for the ipCooldownSeconds") {
		t.Errorf("before the cooldown: %v", r)
	}
	r = c.assign(client, "n", "e", freed[0].Addr)
	if !errors.Is(r.Err, block.ErrInUse) || !strings.Contains(r.Err.Error(), "until 2026-01-01T00:00:31Z") {
		t.Errorf("a request for the very address: %v", r)
	}
	c.now = c.now.Add(200 * time.Millisecond)
	r = c.assign(client, "n", "e")
	if r.Err != nil || r.Addrs()[0] != freed[0].Addr {
		t.Errorf("after the cooldown: %v", r)
	}
}

// TestCooldownOfOthers: addresses rest also for nodes that borrow or take over the block; without a cooldown they are
// free at once.
func TestCooldownOfOthers(t *testing.T) {
	c := newCooling(t)
	for _, handle := range []string{"a", "b", "c", "d"} {
		c.assign(c.client(0), "n", handle)
	}
	if _, err := c.client(0).ReleaseHost(t.Context(), "n", isGone); err != nil {
		t.Fatal(err)
	}
	if r := c.assign(c.client(0), "m", "e"); !errors.Is(r.Err, ErrNoAddress) {
		t.Errorf("before the cooldown: %v", r)
	}
	c.configure(0)
	if r := c.assign(c.client(0), "m", "e"); r.Err != nil {
		t.Errorf("without a cooldown: %v", r)
	}
	b := blocksOf(t, c.store)["10-0-0-0-30"]
	if b.Resting() > 0 || b.Node() != "m" {
		t.Errorf("%d addresses rest in the block of %q", b.Resting(), b.Node())
	}
}

// TestAddressesThatNobodyUsedDoNotRest: what a request gives back because it failed in the other family.
func TestAddressesThatNobodyUsedDoNotRest(t *testing.T) {
	c := newCooling(t)
	client := c.client(0)
	for range 9 {
		r := client.Assign(t.Context(), Host{Name: "n"}, []Pool{c.pool},
			[]Request{{Handle: "a", Families: []Family{IPv4, IPv6}}})[0]
		if !errors.Is(r.Err, ErrNoAddress) || strings.Contains(r.Err.Error(), "assign IPv4") {
			t.Fatalf("got %v", r)
		}
	}
	if r := c.assign(client, "n", "b"); r.Err != nil {
		t.Errorf("got %v", r)
	}
}

// TestRunningPodKeepsItsAddress, also if somebody has released it by mistake and it rests.
func TestRunningPodKeepsItsAddress(t *testing.T) {
	c := newCooling(t)
	client := c.client(0)
	addr := c.assign(client, "n", "a").Addrs()[0]
	if _, err := c.client(0).Release(t.Context(), "n", "a"); err != nil {
		t.Fatal(err)
	}
	errs := client.Reassert(t.Context(), Host{Name: "n"}, []Pool{c.pool},
		[]Request{{Handle: "a", Addrs: []netip.Addr{addr}}})
	if errs[0] != nil {
		t.Error(errs[0])
	}
	if r := c.assign(client, "n", "a"); r.Err != nil || r.Addrs()[0] != addr {
		t.Errorf("the pod has %v", r)
	}
}

// calicoBlock is a block as Calico 3.32 writes it: ordinal 0 is in use, 1 and 2 were released.
const calicoBlock = `{"metadata": {"name": "10-0-0-0-30"}, "spec": {"cidr": "10.0.0.0/30", "affinity": "host:n",
 "allocations": [0, 1, 2, null], "unallocated": [3], "strictAffinity": false, "deleted": false, "sequenceNumber": 9,
 "sequenceNumberForAllocation": {"0": 5, "1": 6, "2": 7},
 "attributes": [{"handle_id": "h", "secondary": {"node": "n", "pod": "web", "namespace": "shop"}},
  {"releasedAt": "2026-01-01T00:00:00Z"}, {"releasedAt": "2026-01-01T00:00:20Z"}]}}`

// TestBlockOfCalico: what a running Calico has released rests here too, and belongs to nobody.
func TestBlockOfCalico(t *testing.T) {
	c := newCooling(t)
	obj := &v3.IPAMBlock{}
	if err := json.Unmarshal([]byte(calicoBlock), obj); err != nil {
		t.Fatal(err)
	}
	created, err := c.store.Create(t.Context(), datastore.IPAMBlocks, obj)
	if err != nil {
		t.Fatal(err)
	}
	if in, err := block.Allocations(obj); err != nil || len(in) != 1 || in[0].Handle != "h" {
		t.Errorf("in use are %v, %v", in, err)
	}
	for _, step := range []struct {
		at   int // seconds
		next time.Duration
		free int
	}{{10, 20 * time.Second, 1}, {31, 19 * time.Second, 2}, {50, 0, 3}} {
		c.now = time.Date(2026, 1, 1, 0, 0, step.at, 0, time.UTC)
		next, err := c.client(0).FreeRested(t.Context(), created.(*v3.IPAMBlock)) // out of date from the second step on
		if now := blocksOf(t, c.store)["10-0-0-0-30"]; err != nil || now.Free() != step.free || step.at < 50 &&
			next != step.next {
			t.Errorf("after %d seconds: %d are free, the next is in %v; %v", step.at, now.Free(), next, err)
		}
	}
	if b := blocksOf(t, c.store)["10-0-0-0-30"]; len(b.Spec.SequenceNumberForAllocation) != 1 ||
		len(b.Spec.Attributes) != 1 || b.Damage() != nil {
		t.Errorf("the block is %+v", b.Spec)
	}
}

// TestClocksThatDiffer: an address rests for the cooldown by the time that its block records. A clock that is far ahead
// does not keep it for ever.
func TestClocksThatDiffer(t *testing.T) {
	for _, test := range []struct {
		released time.Duration // by a clock that is ahead by so much
		earliest time.Duration
	}{{0, 30 * time.Second}, {10 * time.Second, 40 * time.Second}, {15 * time.Minute, 15*time.Minute + 30*time.Second},
		{100 * time.Hour, 0}, {-10 * time.Second, 20 * time.Second}} {
		c := newCooling(t)
		c.now = c.now.Truncate(time.Second)
		for _, handle := range []string{"a", "b", "c", "d"} {
			c.assign(c.client(0), "n", handle)
		}
		if _, err := c.client(test.released).Release(t.Context(), "n", "a"); err != nil {
			t.Fatal(err)
		}
		released := c.now
		for {
			if r := c.assign(c.client(0), "n", "e"); r.Err == nil {
				break
			}
			c.now = c.now.Add(5 * time.Second)
		}
		if rested := c.now.Sub(released); rested != test.earliest {
			t.Errorf("clock ahead by %v: assigned after %v, want %v", test.released, rested, test.earliest)
		}
	}
}
