package cluster

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(expired, name); err == nil {
		t.Fatal("a lock was taken twice")
	}
	taken := make(chan error)
	go func() {
		unlock, err := lock(t.Context(), name)
		if err == nil {
			unlock()
		}
		taken <- err
	}()
	unlock()
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("the lock's file stays behind")
	}
}

func TestVersionOfPod(t *testing.T) {
	for image, want := range map[string]string{
		"ghcr.io/maneki-net/node:dev":    "dev",
		"localhost:5000/node:v1.2":       "v1.2",
		"localhost:5000/maneki-net/node": "",
		"ghcr.io/node@sha256:0123":       "",
	} {
		var p pod
		p.Spec.Containers = []struct{ Image string }{{image}}
		if got, err := p.version(); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %q, %v; want %q", image, got, err, want)
		}
	}
}
