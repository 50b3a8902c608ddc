package sysctl_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
)

func apply(t *testing.T, s *sysctl.Settings) {
	t.Helper()
	if err := s.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

const (
	rpFilter = "net/ipv4/conf/vxlan.calico/rp_filter"
	forward  = "net/ipv6/conf/all/forwarding"
)

func TestKernel(t *testing.T) {
	kerneltest.Enter(t)
	make := "ip link add vxlan.calico type veth peer name peer"
	kerneltest.Run(t, make)
	s := sysctl.New(sysctl.Dir(sysctl.Root))
	s.Set(rpFilter, "2")
	s.Set(forward, "1")
	s.Set("net/ipv4/ip_local_port_range", "40000 50000")
	apply(t, s)
	check := func(what string) {
		t.Helper()
		if got := read(t, filepath.Join(sysctl.Root, rpFilter)); got != "2" {
			t.Errorf("%s: rp_filter is %q", what, got)
		}
		if got := read(t, filepath.Join(sysctl.Root, forward)); got != "1" {
			t.Errorf("%s: forwarding is %q", what, got)
		}
	}
	check("programmed")

	if err := os.WriteFile(filepath.Join(sysctl.Root, forward), []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	s.Resync()
	apply(t, s)
	check("after Resync")

	kerneltest.Run(t, "ip link del vxlan.calico")
	s.Observe(dataplane.Event{Kind: dataplane.EventLink, Device: "vxlan.calico", Index: 7, Deleted: true})
	if err := s.Apply(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), rpFilter) {
		t.Errorf("device gone: %v", err)
	}
	kerneltest.Run(t, make)
	back := dataplane.Event{Kind: dataplane.EventLink, Device: "vxlan.calico", Index: 9}
	if !s.Observe(back) {
		t.Error("Observe of the device's return asks for no Apply")
	}
	if s.InPlace("vxlan.calico") {
		t.Error("InPlace before Apply")
	}
	apply(t, s)
	check("device back")
	if !s.InPlace("vxlan.calico") {
		t.Error("not InPlace after Apply")
	}
	if s.Observe(back) {
		t.Error("Observe of the same device again asks for an Apply")
	}
	kerneltest.Run(t, "ip link del vxlan.calico")
	s.RemoveDevice("vxlan.calico")
	s.Resync()
	apply(t, s)
}

// TestWritesOnlyDifferences on plain files, where a write would lose the tabs.
func TestWritesOnlyDifferences(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"right": "4096\t87380\t6291456\n", "wrong": "0\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := sysctl.New(sysctl.Dir(root))
	s.Set("right", "4096 87380 6291456")
	s.Set("wrong", "1")
	apply(t, s)
	if got := read(t, filepath.Join(root, "right")); got != "4096\t87380\t6291456" {
		t.Errorf("right was written: %q", got)
	}
	if got := read(t, filepath.Join(root, "wrong")); got != "1" {
		t.Errorf("wrong is %q", got)
	}
	// Nothing is read again before Resync.
	if err := os.Remove(filepath.Join(root, "wrong")); err != nil {
		t.Fatal(err)
	}
	apply(t, s)
	s.Remove("wrong")
	s.Resync()
	apply(t, s)
}
