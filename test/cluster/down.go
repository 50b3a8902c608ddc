package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/test/cluster/nodeinit"
)

// Down removes the cluster and all it left on the machine, however much of it there is. It
// succeeds when there is none.
func Down(ctx context.Context, c Config) error {
	c, err := c.complete()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("taking a cluster down needs root")
	}
	unlock, err := lock(ctx, filepath.Join(recordDir, c.Name+".lock"))
	if err != nil {
		return err
	}
	defer removeEmpty(recordDir, netnsDir, filepath.Dir(stateDir(c)))
	defer unlock()
	r, err := readRecord(c.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// The machine was restarted, or there never was one.
		r = record{Config: c, Index: -1, State: stateDir(c)}
	case err != nil:
		return err
	case r.State != stateDir(c):
		return fmt.Errorf("cluster %s belongs to another checkout, whose state is in %s", c.Name, r.State)
	}
	if err := r.remove(ctx); err != nil {
		return fmt.Errorf("take down cluster %s: %w", c.Name, err)
	}
	return restoreLimits(ctx)
}

// Down removes the cluster.
func (cl *Cluster) Down(ctx context.Context) error { return Down(ctx, cl.config) }

// remove goes from what runs to what it stands on. The record goes last, so
// that a removal that was interrupted can be repeated.
func (r record) remove(ctx context.Context) error {
	if err := r.endProcesses(ctx); err != nil {
		return err
	}
	if err := r.removeNetNS(); err != nil {
		return err
	}
	if r.Index >= 0 {
		if link, err := netlink.LinkByName(r.uplinkName()); err == nil {
			if err := netlink.LinkDel(link); err != nil {
				return fmt.Errorf("remove link %s: %w", r.uplinkName(), err)
			}
		}
	}
	if err := nodeinit.RemoveCgroups(r.cgroup()); err != nil {
		return err
	}
	if err := os.RemoveAll(r.State); err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	sockets, err := filepath.Glob(filepath.Join(recordDir, r.Config.Name+"-*.sock"))
	if err != nil {
		return fmt.Errorf("list sockets: %w", err)
	}
	for _, name := range append(sockets, recordPath(r.Config.Name)) {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove record: %w", err)
		}
	}
	return nil
}

// endProcesses kills process 1 of every node, with which the kernel ends all
// others of the node, and whatever else runs in the cluster's network
// namespaces or cgroups, until nothing is found any more.
func (r record) endProcesses(ctx context.Context) error {
	for {
		holders, err := findHolders(r.State)
		if err != nil {
			return err
		}
		pids := slices.Collect(maps.Values(holders))
		if len(pids) == 0 {
			pids, err = r.strays()
			if err != nil || len(pids) == 0 {
				return err
			}
		}
		g, ctx := errgroup.WithContext(ctx)
		for _, pid := range pids {
			g.Go(func() error { return kill(ctx, pid) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
}

// strays are the processes in the cluster's network namespaces or cgroups.
func (r record) strays() ([]int, error) {
	parts, err := r.netnsParts()
	if err != nil {
		return nil, err
	}
	var spaces []fs.FileInfo
	for _, p := range parts {
		info, err := os.Stat(r.netnsPath(p))
		if err != nil {
			return nil, fmt.Errorf("look at network namespace: %w", err)
		}
		spaces = append(spaces, info)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		own, err := os.Stat(filepath.Join(dir, "ns/net"))
		if err != nil {
			continue // ended meanwhile
		}
		inside := nodeinit.InCgroup(pid, r.cgroup())
		for _, s := range spaces {
			inside = inside || os.SameFile(own, s)
		}
		if inside {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// kill ends a process and waits until it is gone. The file descriptor makes
// sure that it is the same process throughout.
func kill(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for {
		// Readable means ended; a second at a time leaves room for the context.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for process %d: %w", pid, ctx.Err())
		}
	}
}

// removeNetNS removes the files that the network namespaces are mounted on, and
// so the mounts. It does that in a mount namespace of its own: the first
// "ip netns add" on a machine, by whomever, covers /run/netns with itself, and
// what was mounted there before can then not be unmounted any more. Removing a
// file that is a mount point elsewhere only is allowed, and undoes all its mounts.
func (r record) removeNetNS() error {
	parts, err := r.netnsParts()
	if err != nil || len(parts) == 0 {
		return err
	}
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare mounts: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unmountAll(netnsDir); err != nil {
			return err
		}
		for _, p := range parts {
			path := r.netnsPath(p)
			if err := unmountAll(path); err != nil {
				return err
			}
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove network namespace: %w", err)
			}
		}
		return nil
	})
}

// unmountAll unmounts whatever is stacked on path.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) { // no mount, or no more
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// removeEmpty removes directories that other clusters do not use.
func removeEmpty(dirs ...string) {
	for _, dir := range dirs {
		_ = os.Remove(dir) // fails where something is left in it
	}
}
