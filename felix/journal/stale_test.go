package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/typha/wire"
)

// written makes a journal of so many hosts, one a commit, and gives its path and content.
func written(t *testing.T, hosts int) (string, []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stream")
	j := open(t, path)
	for i := range hosts {
		appendTo(t, j, wire.Commit{Upserts: []wire.Object{host(fmt.Sprint("n", i), "10.0.0.1/24")}})
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func overwrite(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamaged: a journal in which any one bit flipped, that ends anywhere but between two records, or that lacks a
// record, is stale, and what is good of it is a state that there was.
func TestDamaged(t *testing.T) {
	path, data := written(t, 3)
	check := func(what string, damaged []byte) {
		t.Helper()
		overwrite(t, path, damaged)
		j := journal.Open(path)
		defer j.Close()
		if j.Stale() == nil {
			t.Errorf("%s: the journal is not stale", what)
		}
		known := j.State().Objects
		for i := range len(known) {
			if known[wire.ID{Kind: wire.KindHost, Name: fmt.Sprint("n", i)}] == nil {
				t.Errorf("%s: known are %v", what, known)
			}
		}
	}
	for i := range data {
		for bit := range 8 {
			changed := slices.Clone(data)
			changed[i] ^= 1 << bit
			check(fmt.Sprintf("bit %d of octet %d", bit, i), changed)
		}
	}
	var ends []int // between records
	for hosts := range 4 {
		_, part := written(t, hosts+1)
		ends = append(ends, len(part))
	}
	for length := range data {
		if !slices.Contains(ends, length) && length != len("maneki journal 1+") {
			check(fmt.Sprintf("of %d octets", length), data[:length])
		}
	}
	check("without its second record", slices.Concat(data[:ends[0]], data[ends[1]:]))
	check("of an earlier release", data[len("maneki journal 1+"):])
	check("of zeros at the end", append(slices.Clone(data), make([]byte, 64)...))
	overwrite(t, path, data)
	if j := open(t, path); j.Stale() != nil || len(j.State().Objects) != 3 {
		t.Errorf("undamaged: %v, %v", j.Stale(), j.State().Objects)
	}
}

// TestDamagedIsMendedByTheStream: what comes before the stream is in sync makes no truth of what was damaged, and then
// all is written anew.
func TestDamagedIsMendedByTheStream(t *testing.T) {
	path, data := written(t, 3)
	data[len(data)-1] ^= 1
	overwrite(t, path, data)
	j := open(t, path)
	j.Append(wire.Commit{Upserts: []wire.Object{host("n3", "10.0.0.1/24")}})
	j.Keep()
	if j.Stale() == nil || open(t, path).Stale() == nil {
		t.Error("a part of the stream was taken for all of it")
	}
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n2", "10.0.0.1/24")}, InSync: true})
	if again := open(t, path); again.Stale() != nil || len(again.State().Objects) != 4 {
		t.Errorf("in sync: %v, %v", again.Stale(), again.State().Objects)
	}
}

// TestUnreadable: a journal that cannot even be opened keeps nobody from starting.
func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	j := open(t, path)
	if j.Stale() == nil {
		t.Error("the journal is not stale")
	}
	j.Append(wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.1/24")}, InSync: true})
	if j.Stale() == nil || len(j.State().Objects) != 1 {
		t.Errorf("with a directory in its place: %v, %v", j.Stale(), j.State().Objects)
	}
}

// TestFullDisk fills a real file system: the file says that it lacks a commit, and has it when there is room again.
func TestFullDisk(t *testing.T) {
	kerneltest.RequireRoot(t)
	dir := t.TempDir()
	mountSmall(t, dir)
	path, ballast := filepath.Join(dir, "felix", "stream"), filepath.Join(dir, "ballast")
	j := open(t, path)
	appendTo(t, j, wire.Commit{Upserts: []wire.Object{host("n1", "10.0.0.1/24")}, InSync: true})
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	// Pages that the file has already take a little.
	deny := &wire.Policy{Name: "deny-" + strings.Repeat("x", 64<<10), Egress: []wire.Rule{{Action: wire.Deny}}}
	j.Append(wire.Commit{Upserts: []wire.Object{deny}})
	if err := j.Stale(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the commit was written, or something else failed: %v", err)
	}
	if len(j.State().Objects) != 2 {
		t.Error("the commit is not known")
	}
	for range 20 { // tried again, in vain
		j.Keep()
	}
	again := open(t, path)
	if again.Stale() == nil || len(again.State().Objects) != 1 {
		t.Errorf("after a restart: %v, %d objects, want the host in a stale journal", again.Stale(),
			len(again.State().Objects))
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 1 {
		t.Errorf("in the directory are %v, %v", left, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		j.Keep()
	}
	if again := open(t, path); j.Stale() != nil || again.Stale() != nil || len(again.State().Objects) != 2 {
		t.Errorf("with room again: %v; after a restart: %v, %d objects", j.Stale(), again.Stale(),
			len(again.State().Objects))
	}
}

// mountSmall mounts a file system of 256 KiB, which the test's thread alone sees, and which goes with that.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread cannot be used by others any more
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatalf("make a mount namespace: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("keep mounts in their namespace: %v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// TestNoRoomForAWhole: what can be appended is not stale for want of room for a second file.
func TestNoRoomForAWhole(t *testing.T) {
	path, _ := written(t, 1)
	j := open(t, path)
	if err := os.Mkdir(path+".new", 0o700); err != nil { // where the second one is written
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path+".new", "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	big := &wire.Config{Name: "global", Values: map[string]string{"LogPrefix": string(make([]byte, 2<<20))}}
	for range 3 {
		appendTo(t, j, wire.Commit{Upserts: []wire.Object{big}})
	}
	if again := open(t, path); again.Stale() != nil || len(again.State().Objects) != 2 {
		t.Errorf("after a restart: %v, %d objects", again.Stale(), len(again.State().Objects))
	}
}
