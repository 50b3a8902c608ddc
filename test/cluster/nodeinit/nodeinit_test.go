package nodeinit

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHierarchies(t *testing.T) {
	const v1 = `23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/systemd/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
50 31 0:40 / /mnt/cgroup/cpu rw - cgroup cgroup rw,cpu
`
	want := []hierarchy{
		{path: "/sys/fs/cgroup/cpu,cpuacct", options: "cpu,cpuacct"},
		{path: "/sys/fs/cgroup/cpuset", options: "cpuset"},
		{path: "/sys/fs/cgroup/systemd", options: "none,name=systemd"},
		{path: "/sys/fs/cgroup/unified", unified: true},
	}
	if diff := cmp.Diff(want, parseHierarchies(v1), cmp.AllowUnexported(hierarchy{})); diff != "" {
		t.Error(diff)
	}
	const v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	if diff := cmp.Diff([]hierarchy{{path: "/sys/fs/cgroup", unified: true}}, parseHierarchies(v2),
		cmp.AllowUnexported(hierarchy{})); diff != "" {
		t.Error(diff)
	}
}

// TestMain also is the program that TestServer has process 1 run: the server
// reaps every child, so the test needs one that starts no others.
func TestMain(m *testing.M) {
	if os.Getenv("NODEINIT_SERVER") != "" {
		l, err := net.Listen("unix", os.Getenv("NODEINIT_SERVER"))
		if err == nil {
			err = newServer(l).serve()
		}
		panic(err)
	}
	os.Exit(m.Run())
}

func TestServer(t *testing.T) {
	dir := t.TempDir()
	c := startServer(t, filepath.Join(dir, "socket"))
	sleep := Process{Name: "sleep", Argv: []string{"/bin/sleep", "1000"}, Log: filepath.Join(dir, "sleep.log")}
	ensure := func(p Process, want bool) Status {
		t.Helper()
		started, err := c.Ensure(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if started != want {
			t.Errorf("started %s: %v, want %v", p.Name, started, want)
		}
		all, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all[p.Name]
	}
	first := ensure(sleep, true)
	if again := ensure(sleep, false); again.PID != first.PID {
		t.Errorf("process %d became %d", first.PID, again.PID)
	}
	sleep.Revision = "2"
	if second := ensure(sleep, true); second.PID == first.PID {
		t.Error("another revision runs in the old process")
	}
	if err := c.Stop(t.Context(), "sleep"); err != nil {
		t.Fatal(err)
	}
	all, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := all["sleep"]; s.PID != 0 || s.Exit != "killed by terminated" {
		t.Errorf("after stop: process %d, %q", s.PID, s.Exit)
	}
	if _, err := c.Ensure(t.Context(), Process{Name: "none", Argv: []string{"/nonexistent"},
		Log: "/dev/null"}); err == nil || !strings.Contains(err.Error(), "start none") {
		t.Errorf("a program that does not exist: %v", err)
	}
	ensure(sleep, true)
	if err := c.Stop(t.Context(), "sleep"); err != nil {
		t.Fatal(err)
	}
}

func startServer(t *testing.T, socket string) Client {
	t.Helper()
	server, err := os.StartProcess("/proc/self/exe", []string{"server"}, &os.ProcAttr{
		Env:   []string{"NODEINIT_SERVER=" + socket},
		Files: []*os.File{nil, nil, os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
		if _, err := server.Wait(); err != nil {
			t.Error(err)
		}
	})
	for t.Context().Err() == nil {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			break
		}
	}
	return Client{Socket: socket}
}
