package nodeinit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountRoot builds the node's root beside the machine's and pivots into it. The
// machine's own mounts disappear from the node's view, and since every mount is
// made private first, none of the node's mounts reaches the machine.
func mountRoot(spec Spec) error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	root := filepath.Join(spec.Work, "merged")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("make root of node: %w", err)
	}
	// A cluster's own directory lies below the overlay's lower directory; the
	// kernel allows an upper directory there, only not a lower in an upper.
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", spec.Upper, filepath.Join(spec.Work, "work"))
	if err := mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("%w (the state directory must lie on a file system that can hold an overlay's upper layer)",
			err)
	}
	if err := mountSystem(root); err != nil {
		return err
	}
	for _, b := range spec.Binds {
		if err := bind(root, b); err != nil {
			return err
		}
	}
	for name, content := range spec.Files {
		if err := replaceFile(filepath.Join(root, name), content); err != nil {
			return err
		}
	}
	return pivot(root)
}

// mountSystem mounts the kernel's file systems. Proc, sysfs and the cgroup
// hierarchies are new instances, which show the node's own namespaces.
func mountSystem(root string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	in := func(p string) string { return filepath.Join(root, p) }
	steps := []struct {
		source, target, fstype string
		flags                  uintptr
		data                   string
	}{
		{"proc", in("proc"), "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", in("sys"), "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"/dev", in("dev"), "", unix.MS_BIND | unix.MS_REC, ""},
		{"tmpfs", in("run"), "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", in("tmp"), "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"bpf", in("sys/fs/bpf"), "bpf", 0, "mode=700"},
	}
	for _, s := range steps {
		if err := mount(s.source, s.target, s.fstype, s.flags, s.data); err != nil {
			return err
		}
	}
	if err := shadowTunables(root); err != nil {
		return err
	}
	if err := os.MkdirAll(in("run/netns"), 0o755); err != nil {
		return fmt.Errorf("make /run of node: %w", err)
	}
	return mountCgroups(in("sys/fs/cgroup"), hierarchies)
}

// mountCgroups mounts the node's part of the hierarchies as the machine has
// its own: one alone in place, several below a tmpfs.
func mountCgroups(root string, hierarchies []hierarchy) error {
	if len(hierarchies) == 1 && hierarchies[0].unified {
		return mount("cgroup2", root, "cgroup2", 0, "")
	}
	if err := mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, h := range hierarchies {
		target := filepath.Join(root, filepath.Base(h.path))
		if err := os.MkdirAll(target, 0o755); err != nil {
			return fmt.Errorf("make cgroup mount point: %w", err)
		}
		fstype := "cgroup"
		if h.unified {
			fstype = "cgroup2"
		}
		if err := mount("cgroup", target, fstype, 0, h.options); err != nil {
			return err
		}
	}
	return nil
}

// tunables are settings of the whole machine that a kubelet insists on writing.
// The node has files in their place.
var tunables = []string{
	"vm/overcommit_memory",
	"vm/panic_on_oom",
	"kernel/panic",
	"kernel/panic_on_oops",
	"kernel/keys/root_maxkeys",
	"kernel/keys/root_maxbytes",
}

func shadowTunables(root string) error {
	for _, name := range tunables {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return fmt.Errorf("read tunable: %w", err)
		}
		shadow := filepath.Join(root, "run/tunables", name)
		if err := replaceFile(shadow, string(value)); err != nil {
			return err
		}
		if err := mount(shadow, filepath.Join(root, "proc/sys", name), "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

func bind(root string, b Bind) error {
	target := filepath.Join(root, b.Target)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point %s: %w", b.Target, err)
	}
	if err := mount(b.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !b.ReadOnly {
		return nil
	}
	return mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// replaceFile writes a file of the node, in place of whatever is there: on many
// machines /etc/resolv.conf is a link into /run.
func replaceFile(name, content string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make directory of %s: %w", name, err)
	}
	if err := os.RemoveAll(name); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// pivot makes root the root of the mount namespace, drops the old one, and
// shares the tree within the namespace, which is what pods with mount
// propagation need.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return fmt.Errorf("enter root of node: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the machine's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("enter root of node: %w", err)
	}
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

func mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", strings.TrimSpace(fstype+" "+source), target, err)
	}
	return nil
}
