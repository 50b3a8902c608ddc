package backoff_test

import (
	"slices"
	"testing"
	"time"

	"github.com/maneki-net/maneki/api/backoff"
)

func TestNext(t *testing.T) {
	b := backoff.Backoff{First: time.Second, Last: 5 * time.Second}
	waits := func(n int) (list []time.Duration) {
		for range n {
			list = append(list, b.Next())
		}
		return list
	}
	want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}
	if got := waits(5); !slices.Equal(got, want) {
		t.Errorf("waits %v, want %v", got, want)
	}
	b.Reset()
	if got := waits(2); !slices.Equal(got, want[:2]) {
		t.Errorf("waits after Reset %v, want %v", got, want[:2])
	}
}

func TestSpread(t *testing.T) {
	for range 1000 {
		b := backoff.Backoff{First: 2 * time.Second, Last: 8 * time.Second}
		for _, middle := range []time.Duration{2, 4, 8, 8} {
			if got := b.Spread(); got < middle*time.Second/2 || got >= 3*middle*time.Second/2 {
				t.Fatalf("wait %s, want %ds give or take one half", got, middle)
			}
		}
	}
}
