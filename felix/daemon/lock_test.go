package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// TestOneFelixANode: the second one waits until the first has ended, or until it is told to end itself.
func TestOneFelixANode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "felix", "lock")
	unlock, err := lockNode(t.Context(), path, discard)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockNode(ended, path, discard); !errors.Is(err, context.Canceled) {
		t.Fatalf("a second process did not wait: %v", err)
	}
	second := make(chan error, 1)
	go func() {
		unlock, err := lockNode(t.Context(), path, discard)
		if err == nil {
			unlock()
		}
		second <- err
	}()
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
}
