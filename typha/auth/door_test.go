package auth

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestDoor: of one node's streams one is let in at a time and few wait, of all nodes' so many are in at a time; who
// leaves or gives up makes room.
func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, in := NewDoor(4), map[string]int{}
		var mu sync.Mutex // guards in, while two come in at once
		type visit struct {
			cancel context.CancelFunc
			leave  func()
			err    error
		}
		come := func(node string) *visit {
			v := &visit{}
			var ctx context.Context
			ctx, v.cancel = context.WithCancel(t.Context())
			t.Cleanup(v.cancel)
			go func() {
				v.leave, v.err = d.Enter(ctx, node)
				if v.err == nil {
					mu.Lock()
					in[node]++
					mu.Unlock()
				}
			}()
			synctest.Wait()
			return v
		}
		go1, go2, go3 := come("n1"), come("n1"), come("n1")
		last := come("n1")
		if v := come("n1"); status.Code(v.err) != codes.ResourceExhausted {
			t.Errorf("a fifth stream: %v", v.err)
		}
		var others []*visit
		for i := range maxGreeted {
			others = append(others, come(fmt.Sprint("other", i)))
		}
		if in["n1"] != 1 || len(in) != maxGreeted {
			t.Errorf("in are %v", in)
		}
		waiting := come("late")
		waiting.cancel()
		synctest.Wait()
		if d.nodes["late"].count != 0 || waiting.err == nil {
			t.Errorf("who gave up waiting for room: %v, and is there still: %v", waiting.err, d.nodes["late"])
		}
		late, later := come("late"), come("late")
		late.cancel()
		go2.cancel()
		others[0].leave() // the last of the others comes in
		others[1].leave() // and then the next of the node of which one gave up
		synctest.Wait()
		if go2.err == nil || late.err == nil || len(in) != maxGreeted+2 || in["n1"] != 1 || in["late"] != 1 {
			t.Errorf("one gave up with %v, in are %v", go2.err, in)
		}
		go1.leave()
		go1.leave() // a second time is nothing
		synctest.Wait()
		if in["n1"] != 2 {
			t.Errorf("in are %v", in)
		}
		go3.cancel() // has entered, or still waits
		for _, v := range append(others[2:], later, go3, last) {
			synctest.Wait()
			if v.leave != nil {
				v.leave()
			}
		}
		synctest.Wait()
		last.cancel()
		synctest.Wait()
		if last.leave != nil {
			last.leave()
		}
		if d.Inside() != 0 {
			t.Errorf("%d are in", d.Inside())
		}
		time.Sleep(time.Hour)
		come("none").leave()
		if len(d.nodes) != 1 {
			t.Errorf("%v are known", d.nodes)
		}
	})
}

// TestNodeThatComesAgainAndAgain waits longer than another one, and no longer when it has rested.
func TestNodeThatComesAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDoor(4)
		visit := func(node string) time.Duration {
			t.Helper()
			began := time.Now()
			leave, err := d.Enter(t.Context(), node)
			if err != nil {
				t.Fatal(err)
			}
			leave()
			return time.Since(began)
		}
		for range helloBurst {
			if waited := visit("restless"); waited > 0 {
				t.Errorf("it waits %s while it comes seldom", waited)
			}
		}
		if waited := visit("restless"); waited < helloInterval/2 {
			t.Errorf("it waits %s", waited)
		}
		if waited := visit("calm"); waited > 0 {
			t.Errorf("the other node waits %s", waited)
		}
		time.Sleep(time.Hour)
		if waited := visit("calm"); waited > 0 || len(d.nodes) > 1 {
			t.Errorf("later it waits %s, and %d nodes are known", waited, len(d.nodes))
		}
	})
}
