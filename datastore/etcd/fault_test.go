package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// bounded is for everything that a test waits for.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func pool(name string) *v3.IPPool {
	return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}}
}

// counter is a pool whose spec.blockSize counts what was written.
type counter struct {
	store datastore.Store
	name  string
}

// reach counts up to a number, once each, whatever fails in between: a write whose answer is lost is read back.
func (c counter) reach(ctx context.Context, from, to int) error {
	for n := from; n <= to; {
		_, err := datastore.Modify(ctx, c.store, datastore.IPPools, datastore.Key{Name: c.name},
			func(p *v3.IPPool) error {
				p.Spec.BlockSize = n
				return nil
			})
		switch {
		case err == nil:
			n++
		case !errors.Is(err, datastore.ErrUnavailable):
			return fmt.Errorf("count to %d: %w", n, err)
		}
	}
	return nil
}

// follower reads a watch and fails on a number that is missing or comes twice.
type follower struct {
	seen     map[string]int
	revision int64
	watch    datastore.Watcher
}

func follow(ctx context.Context, t *testing.T, s datastore.Store) *follower {
	t.Helper()
	list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{seen: map[string]int{}}
	f.watch, err = s.Watch(ctx, datastore.IPPools, list.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.watch.Stop)
	for _, o := range list.Items {
		f.seen[o.GetName()] = o.(*v3.IPPool).Spec.BlockSize
	}
	return f
}

// until reads until every pool has a number.
func (f *follower) until(ctx context.Context, number int) error {
	for f.least() < number {
		e, err := f.watch.Next(ctx)
		if err != nil {
			return err
		}
		revision, err := strconv.ParseInt(e.Revision, 10, 64)
		if err != nil || revision <= f.revision {
			return fmt.Errorf("revision %s follows %d", e.Revision, f.revision)
		}
		f.revision = revision
		if e.Type == datastore.Bookmark {
			continue
		}
		name, n := e.Object.GetName(), e.Object.(*v3.IPPool).Spec.BlockSize
		if n != f.seen[name]+1 {
			return fmt.Errorf("%s: number %d follows %d", name, n, f.seen[name])
		}
		f.seen[name] = n
	}
	return nil
}

func (f *follower) least() int {
	least := int(^uint(0) >> 1)
	for _, n := range f.seen {
		least = min(least, n)
	}
	return least
}

// counters makes pools that count from 0.
func counters(ctx context.Context, t *testing.T, s datastore.Store, n int) []counter {
	t.Helper()
	var all []counter
	for i := range n {
		c := counter{s, fmt.Sprintf("counter-%d", i)}
		if _, err := s.Create(ctx, datastore.IPPools, pool(c.name)); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// TestLeaderIsKilled kills the leader twice under a watch and concurrent writers.
func TestLeaderIsKilled(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{Members: 3})
	ctx := bounded(t)
	const writers, each = 4, 60
	all := counters(ctx, t, open(t, server.Config), writers)
	f := follow(ctx, t, open(t, server.Config))
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range all {
		group.Go(func() error { return c.reach(ctx, 1, each) })
	}
	for _, at := range []int{each / 4, each / 2} {
		if err := f.until(ctx, at); err != nil {
			t.Fatal(err)
		}
		old, term := server.Leader(t)
		server.Kill(old)
		leader, newTerm := server.Leader(t)
		if leader == old || newTerm <= term {
			t.Fatalf("member %d leads in term %d; before, %d did in term %d", leader, newTerm, old, term)
		}
		if err := f.until(ctx, at+5); err != nil {
			t.Fatalf("with member %d dead: %v", old, err)
		}
		server.Restart(t, old)
	}
	group.Go(func() error { return f.until(ctx, each) })
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestMemberOfTheWatchIsLost: the watch's only member is away while others write, and comes back; with all that was
// written, or without what was compacted.
func TestMemberOfTheWatchIsLost(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{Members: 3})
	ctx := bounded(t)
	c := counters(ctx, t, open(t, server.Config), 1)[0]
	leader, _ := server.Leader(t)
	member := (leader + 1) % 3
	alone := server.Config
	alone.Endpoints = server.Endpoint(member)
	f := follow(ctx, t, open(t, alone))
	lose := func(from, to int, meanwhile func()) {
		server.Kill(member)
		if err := c.reach(ctx, from, to); err != nil {
			t.Fatal(err)
		}
		meanwhile()
		server.Restart(t, member)
	}
	lose(1, 10, func() {})
	if err := f.until(ctx, 10); err != nil {
		t.Fatal(err)
	}
	lose(11, 20, func() { server.Compact(t) })
	if err := f.until(ctx, 20); !errors.Is(err, datastore.ErrExpired) {
		t.Fatalf("a watch whose changes are compacted gives %v, want ErrExpired", err)
	}
	f = follow(ctx, t, open(t, alone))
	if f.least() != 20 {
		t.Errorf("a list after it is at %d", f.least())
	}
}

// TestCompactionDuringWatch: who has read everything is not concerned.
func TestCompactionDuringWatch(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	ctx := bounded(t)
	c := counters(ctx, t, open(t, server.Config), 1)[0]
	f := follow(ctx, t, open(t, server.Config))
	for n := 1; n <= 10; n++ {
		server.Compact(t)
		if err := c.reach(ctx, n, n); err != nil {
			t.Fatal(err)
		}
		if err := f.until(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
}

// TestListDuringCompaction: pages whose revision is gone in between are read again, all at once.
func TestListDuringCompaction(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	s := open(t, server.Config)
	const pools, lists = 40, 20
	counters(bounded(t), t, s, pools)
	ctx, stop := context.WithCancel(bounded(t))
	group, ctx := errgroup.WithContext(ctx)
	compactions := 0
	group.Go(func() error {
		for ctx.Err() == nil {
			now, err := server.Admin().Put(ctx, "now", "")
			if err == nil {
				_, err = server.Admin().Compact(ctx, now.Header.Revision)
			}
			if err != nil && ctx.Err() == nil {
				return err
			}
			compactions++
		}
		return nil
	})
	group.Go(func() error {
		defer stop()
		for range lists {
			list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{PageSize: 1})
			if err != nil {
				return err
			}
			if len(list.Items) != pools {
				return fmt.Errorf("%d of %d pools", len(list.Items), pools)
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if compactions < 2*lists {
		t.Errorf("only %d compactions in %d lists", compactions, lists)
	}
}

// TestEtcdIsSetBack: a watch that waits for revisions which will not come says so.
func TestEtcdIsSetBack(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	ctx := bounded(t)
	s := open(t, server.Config)
	s.AskEvery(200 * time.Millisecond)
	c := counters(ctx, t, s, 1)[0]
	f := follow(ctx, t, s)
	if err := c.reach(ctx, 1, 5); err != nil {
		t.Fatal(err)
	}
	if err := f.until(ctx, 5); err != nil {
		t.Fatal(err)
	}
	server.Wipe(t)
	if err := f.until(ctx, 6); !errors.Is(err, datastore.ErrExpired) {
		t.Errorf("the watch gives %v, want ErrExpired", err)
	}
}

// TestBookmarks: a watch without changes moves on with what changes elsewhere.
func TestBookmarks(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	ctx := bounded(t)
	s := open(t, server.Config)
	s.AskEvery(50 * time.Millisecond)
	f := follow(ctx, t, s)
	server.Compact(t) // writes elsewhere, too
	e, err := f.watch.Next(ctx)
	if err != nil || e.Type != datastore.Bookmark || e.Object != nil {
		t.Fatalf("got %+v, %v, want a bookmark", e, err)
	}
	w, err := s.Watch(ctx, datastore.IPPools, e.Revision, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	counters(ctx, t, s, 1)
	for {
		e, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("a watch from the bookmark's revision: %v", err)
		}
		if e.Type == datastore.Added {
			break
		}
	}
}

// TestRestartWithPasswords: logins do not outlive the only member, and watches do.
func TestRestartWithPasswords(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{TLS: true, Auth: true})
	ctx := bounded(t)
	c := counters(ctx, t, open(t, server.Config), 1)[0]
	f := follow(ctx, t, open(t, server.Config))
	for n := 1; n <= 3; n++ {
		server.Kill(0)
		server.Restart(t, 0)
		if err := c.reach(ctx, n, n); err != nil {
			t.Fatal(err)
		}
		if err := f.until(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMajorityIsLost: a watch says so, and its reader goes on at the last revision.
func TestMajorityIsLost(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{Members: 3})
	ctx := bounded(t)
	s := open(t, server.Config)
	c := counters(ctx, t, s, 1)[0]
	f := follow(ctx, t, s)
	if err := c.reach(ctx, 1, 3); err != nil {
		t.Fatal(err)
	}
	if err := f.until(ctx, 3); err != nil {
		t.Fatal(err)
	}
	server.Kill(0)
	server.Kill(1)
	if err := f.until(ctx, 4); !errors.Is(err, datastore.ErrUnavailable) {
		t.Fatalf("without a majority the watch gives %v, want ErrUnavailable", err)
	}
	if _, err := s.Get(ctx, datastore.IPPools, datastore.Key{Name: c.name}); !errors.Is(err, datastore.ErrUnavailable) {
		t.Errorf("without a majority a read gives %v, want ErrUnavailable", err)
	}
	server.Restart(t, 0)
	if err := c.reach(ctx, 4, 5); err != nil {
		t.Fatal(err)
	}
	f.watch.Stop()
	var err error
	f.watch, err = s.Watch(ctx, datastore.IPPools, strconv.FormatInt(f.revision, 10), datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.watch.Stop()
	if err := f.until(ctx, 5); err != nil {
		t.Fatal(err)
	}
}

// TestHungMember: a member that hangs with its connections open holds no watch for ever, whichever member that is of.
func TestHungMember(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{Members: 3})
	ctx := bounded(t)
	c := counters(ctx, t, open(t, server.Config), 1)[0]
	var followers []*follower
	for range 6 { // each picks a member
		followers = append(followers, follow(ctx, t, open(t, server.Config)))
	}
	hung, term := server.Leader(t)
	resume := server.Pause(t, hung)
	err := c.reach(ctx, 1, 3)
	for _, f := range followers {
		err = errors.Join(err, f.until(ctx, 3))
	}
	resume()
	if err != nil {
		t.Fatal(err)
	}
	if leader, newTerm := server.Leader(t); leader == hung || newTerm <= term {
		t.Errorf("member %d leads in term %d; before, %d did in term %d", leader, newTerm, hung, term)
	}
}
