package felix_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/typha/wire"
)

// staleJournal writes a journal whose last record is not what was written, and gives its path.
func staleJournal(t *testing.T, known ...wire.Object) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stream")
	j := journal.Open(path)
	j.Append(wire.Commit{Upserts: known, InSync: true})
	j.Append(wire.Commit{Upserts: []wire.Object{&wire.Policy{Name: "later", Tier: "default"}}})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStaleJournal: with a journal that may lack a commit the kernel stays as it is until the stream is there, and
// others are told why. What it says otherwise TestJournal shows.
func TestStaleJournal(t *testing.T) {
	path := staleJournal(t, pool, set, deny, endpoint)
	bubble(t, func(t *testing.T) {
		r := newRigOf(t, node.Facts{Name: "n1", IPv4: node.Addresses{Addr: netip.MustParsePrefix("172.30.0.11/24"),
			Device: "eth0"}}, journal.Open(path))
		synctest.Wait()
		r.later(t, time.Minute)
		if len(r.log) > 0 {
			t.Errorf("the kernel was changed by a stale journal: %v", r.log)
		}
		status, err := r.agent.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if told := strings.Join(status.Problems, " "); !strings.Contains(told, path) ||
			!strings.Contains(told, "not what was written") {
			t.Errorf("the status tells of %q", status.Problems)
		}
		r.commit(pool, set, deny, endpoint)
		if len(r.log) == 0 {
			t.Error("the stream changed nothing")
		}
		if again := journal.Open(path); again.Stale() != nil || len(again.State().Objects) != 4 {
			t.Errorf("after the stream: %v, %d objects", again.Stale(), len(again.State().Objects))
		}
	})
}
