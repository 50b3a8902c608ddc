package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

// stateFiles are the files and folders that Felix and the CNI plugin keep on a node. All but the first are in folders
// that they share with other programs.
var stateFiles = []string{filepath.Dir(journalPath), protocol.DefaultSpool, protocol.DefaultSocket, debugSocket}

// removeState removes the stateFiles below root, and their parent folders if they are empty and not mounted. A mount
// inside stays, and is an error.
func removeState(root string) error {
	var errs []error
	for _, name := range stateFiles {
		path := filepath.Join(root, name)
		if err := removeTree(path); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", path, err))
			continue
		}
		parent := filepath.Dir(path)
		if mounted, err := isMounted(parent); err == nil && !mounted {
			_ = os.Remove(parent) // fails if others have files in it, or if it is already removed
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a file, or a folder with its contents. It follows neither links nor mounts.
func removeTree(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mounted, err := isMounted(path)
	if err != nil {
		return err
	}
	if mounted {
		return fmt.Errorf("something is mounted at %s: unmount it, and remove the rest again", path)
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		var errs []error
		for _, entry := range entries {
			errs = append(errs, removeTree(filepath.Join(path, entry.Name())))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// isMounted reports whether something is mounted at a path: another file system, or a part of the same one (Linux 5.8).
func isMounted(path string) (bool, error) {
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &stat); err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	if stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return false, fmt.Errorf(
			"look at %s: the kernel does not say whether something is mounted there: Linux 5.8 or newer is needed",
			path)
	}
	return stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}
