package balance

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// crowd are nodes at one replica. Those that are handed over find another one, or come back after they tried.
type crowd struct {
	t         *testing.T
	streams   *Streams
	returning atomic.Bool // they come back
	dropped   atomic.Int32
	since     sync.Map // by node that came back, when
}

func (c *crowd) join(node string) {
	var remove func()
	added := make(chan struct{})
	end := func(error) {
		c.dropped.Add(1)
		if back, ok := c.since.Load(node); ok && time.Since(back.(time.Time)) < firstRest {
			c.t.Errorf("node %s came back %s ago", node, time.Since(back.(time.Time)))
		}
		go func() { // the caller holds the lock
			<-added
			remove()
			if !c.returning.Load() || node[0] == 'm' {
				return
			}
			time.Sleep(20 * time.Second)
			c.since.Store(node, time.Now())
			c.join(node)
		}()
	}
	var err error
	remove, err = c.streams.Add(node, end)
	if err != nil {
		c.t.Error(err)
	}
	close(added)
}

// during counts the nodes that are handed over in a time.
func (c *crowd) during(d time.Duration) int {
	before := c.dropped.Load()
	time.Sleep(d)
	synctest.Wait()
	return int(c.dropped.Load() - before)
}

// TestNodesThatComeBackAreLetBe: where no other replica is within the nodes' reach, a replica that has too many soon
// hands over one now and then, and all that is too much once one stays away.
func TestNodesThatComeBackAreLetBe(t *testing.T) {
	for _, count := range []int{25, 2000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const share = 20
				var returned atomic.Int32
				streams := New(Options{Returned: func() { returned.Add(1) }})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { streams.Run(ctx); close(ended) }()
				c := &crowd{t: t, streams: streams}
				c.returning.Store(true)
				for i := range count {
					c.join(fmt.Sprint("n", i))
				}
				streams.SetMax(share)
				if n := c.during(10 * time.Minute); n < min(count-share, 20) || n > 30 {
					t.Errorf("%d nodes were handed over in the first 10 minutes", n)
				}
				for hour := range 5 {
					if n := c.during(time.Hour); n < 1 || n > 7 {
						t.Errorf("%d nodes were handed over in hour %d", n, hour+1)
					}
				}
				if streams.Count() < count-1 || returned.Load() < 25 {
					t.Errorf("%d nodes are here, %v came back", streams.Count(), returned.Load())
				}
				c.returning.Store(false) // the others are within reach again
				time.Sleep(time.Hour + time.Duration(count)*time.Second)
				synctest.Wait()
				if n := streams.Count(); n != share {
					t.Errorf("%d nodes are here, the share is %d", n, share)
				}
				cancel()
				<-ended
			})
		})
	}
}

// TestNodesThatCanGoAreFound among those that cannot, which are not tried again and again for them.
func TestNodesThatCanGoAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams := New(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { streams.Run(ctx); close(ended) }()
		c := &crowd{t: t, streams: streams}
		c.returning.Store(true)
		for i := range 40 {
			c.join(fmt.Sprint("fixed", i))
			c.join(fmt.Sprint("movable", i))
		}
		streams.SetMax(20)
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		if n := streams.Count(); n < 39 || n > 40 {
			t.Errorf("%d nodes are here, of which 40 have nowhere to go", n)
		}
		cancel()
		<-ended
	})
}

// TestNodeThatCameBackIsNotTheNext to be handed over, for longer each time.
func TestNodeThatCameBackIsNotTheNext(t *testing.T) {
	h, now := newHandovers(time.Second), time.Unix(0, 0)
	for i, rest := range []time.Duration{5, 10, 20, 40, 60, 60} {
		h.begin("n", now)
		now = now.Add(time.Minute)
		if !h.opened("n", now) || h.opened("n", now) {
			t.Errorf("return %d: it counts once", i)
		}
		if h.opened("other", now) || h.resting("other", now) {
			t.Error("another node counts as one that came back")
		}
		now = now.Add(rest*time.Minute - time.Second)
		if !h.resting("n", now) {
			t.Errorf("return %d: it is not let be for %d minutes", i, rest)
		}
		now = now.Add(time.Second)
		if h.resting("n", now) || !h.due(now.Add(10*time.Minute)) {
			t.Errorf("return %d: it is let be for more than %d minutes", i, rest)
		}
	}
	h.begin("n", now)
	now = now.Add(returnTime + time.Second)
	if !h.due(now) || h.wait != time.Second || h.opened("n", now) {
		t.Errorf("it stayed away, and the wait is %s", h.wait)
	}
	if len(h.nodes) > 0 {
		t.Errorf("what is over is remembered: %v", h.nodes)
	}
}
