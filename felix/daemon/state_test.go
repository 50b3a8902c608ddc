package daemon

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// TestRemoveState: the files of ours go, those of others stay, and so does what is mounted among ours, even of the same
// file system.
func TestRemoveState(t *testing.T) {
	kerneltest.RequireRoot(t)
	root := t.TempDir()
	put := func(names ...string) {
		t.Helper()
		for _, name := range names {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func() (files []string) {
		t.Helper()
		if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, strings.TrimPrefix(path, root))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return files
	}
	put(journalPath, typhaFile, lockPath, writtenFile, cniserver.DefaultRecords+"/a/b",
		"/var/lib/calico/cni/deleted/x", "/var/run/calico/felix-cni.sock", "/var/run/calico/felix-debug.sock")
	others := []string{"/var/lib/calico/nodename", "/var/run/calico/bird.ctl", "/precious/data"}
	put(others...)
	mount := filepath.Join(root, "/var/lib/calico/felix/workloads/mounted")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "precious"), filepath.Join(root,
		"/var/lib/calico/felix/workloads/link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(filepath.Join(root, "precious"), mount, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mount: %v", err)
	}
	mounted := true
	unmount := func() {
		t.Helper()
		if err := unix.Unmount(mount, unix.MNT_DETACH); mounted && err != nil {
			t.Fatal(err)
		}
		mounted = false
	}
	t.Cleanup(unmount)
	err := removeState(root)
	if err == nil || !strings.Contains(err.Error(), mount) {
		t.Errorf("with a mount inside: %v, want an error that names %s", err, mount)
	}
	slices.Sort(others)
	want := append([]string{"/var/lib/calico/felix/workloads/mounted/data"}, others...)
	slices.Sort(want)
	if got := left(); !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	unmount()
	if err := removeState(root); err != nil {
		t.Error(err)
	}
	if got := left(); !slices.Equal(got, others) {
		t.Errorf("left are %v, want %v", got, others)
	}
	if _, err := os.Stat(filepath.Join(root, "/var/lib/calico/felix")); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := removeState(root); err != nil {
		t.Errorf("again: %v", err)
	}
}
