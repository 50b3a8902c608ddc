package nodeinit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hierarchy is a mounted cgroup hierarchy of the machine.
type hierarchy struct {
	path    string
	unified bool
	// options select the hierarchy when it is mounted again (version 1).
	options string
}

// cgroupHierarchies lists the hierarchies mounted under /sys/fs/cgroup.
func cgroupHierarchies() ([]hierarchy, error) {
	body, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	found := parseHierarchies(string(body))
	if len(found) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted under /sys/fs/cgroup")
	}
	return found, nil
}

func parseHierarchies(mountinfo string) []hierarchy {
	var found []hierarchy
	for line := range strings.Lines(mountinfo) {
		mount, source, ok := strings.Cut(line, " - ")
		if !ok {
			continue
		}
		left, right := strings.Fields(mount), strings.Fields(source)
		if len(left) < 5 || len(right) < 3 || !strings.HasPrefix(left[4], "/sys/fs/cgroup") {
			continue
		}
		switch right[0] {
		case "cgroup2":
			found = append(found, hierarchy{path: left[4], unified: true})
		case "cgroup":
			found = append(found, hierarchy{path: left[4], options: hierarchyOptions(right[2])})
		}
	}
	return found
}

// hierarchyOptions keeps of a version 1 mount's super options those that name
// the hierarchy: its controllers, or its name where it has none.
func hierarchyOptions(super string) string {
	var keep []string
	for _, o := range strings.Split(super, ",") {
		switch {
		case o == "rw" || o == "ro" || o == "xattr" || o == "clone_children" || strings.HasPrefix(o, "release_agent="):
		case strings.HasPrefix(o, "name="):
			keep = append(keep, "none", o)
		default:
			keep = append(keep, o)
		}
	}
	return strings.Join(slices.Compact(keep), ",")
}

// joinCgroups makes the group in every hierarchy and moves the process there.
func joinCgroups(group string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	for _, h := range hierarchies {
		if err := h.join(group); err != nil {
			return fmt.Errorf("join cgroup %s of %s: %w", group, h.path, err)
		}
	}
	return nil
}

func (h hierarchy) join(group string) error {
	dir := h.path
	for part := range strings.SplitSeq(group, "/") {
		if err := h.delegate(dir); err != nil {
			return err
		}
		parent := dir
		dir = filepath.Join(parent, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := h.inherit(parent, dir); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// delegate lets groups below dir have the controllers of dir; version 2 asks for
// that.
func (h hierarchy) delegate(dir string) error {
	if !h.unified {
		return nil
	}
	controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(controllers)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("delegate %s: %w", c, err)
		}
	}
	return nil
}

// inherit copies the processors and memory of the group above: in version 1 a
// new cpuset has none, and takes no process.
func (h hierarchy) inherit(parent, dir string) error {
	if h.unified || !strings.Contains(h.options, "cpuset") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0); err != nil {
			return err
		}
	}
	return nil
}

// RemoveCgroups removes the group and all below it from every hierarchy, and the
// one above when nothing else is in it. The processes in it must have ended.
func RemoveCgroups(group string) error {
	hierarchies, err := cgroupHierarchies()
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range hierarchies {
		dir := filepath.Join(h.path, group)
		errs = append(errs, removeGroup(dir))
		_ = syscall.Rmdir(filepath.Dir(dir)) // refused while other clusters are in it
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list cgroup: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

// InCgroup tells whether the process is in the group or below it, in any
// hierarchy. A process that has ended is not.
func InCgroup(pid int, group string) bool {
	body, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(body)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && strings.HasPrefix(fields[2]+"/", "/"+group+"/") {
			return true
		}
	}
	return false
}
