package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/test/images"
)

// A seed is containerd's directory with the test images in it, made once. A node
// starts from a copy by hard links, which takes a fraction of the time, and
// none of the space, of importing the images: containerd and overlayfs replace
// and remove the files of images, but never write to them. Its databases, which they
// do write to, are copied.

// seedDir is where the seed of these images is.
func (c Config) seedDir(archives []images.Archive) string {
	h := sha256.New()
	for _, a := range archives {
		fmt.Fprintln(h, a.Reference, a.ID)
	}
	return filepath.Join(c.Root, ".cache", "containerd", fmt.Sprintf("%x", h.Sum(nil)[:6]))
}

// makeSeed makes the seed unless it exists, with a containerd of its own. Seeds of older
// images are removed.
func makeSeed(ctx context.Context, c Config, archives []images.Archive) (string, error) {
	dir := c.seedDir(archives)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	all := filepath.Dir(dir)
	unlock, err := lock(ctx, all+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fmt.Fprintf(c.Progress, "unpacking images\n")
	if err := os.RemoveAll(all); err != nil {
		return "", fmt.Errorf("remove old seeds: %w", err)
	}
	partial := dir + ".new"
	if err := os.MkdirAll(partial, 0o711); err != nil {
		return "", fmt.Errorf("make seed: %w", err)
	}
	if err := fillSeed(ctx, partial, archives); err != nil {
		return "", fmt.Errorf("make seed: %w", err)
	}
	if err := os.Rename(partial, dir); err != nil {
		return "", fmt.Errorf("make seed: %w", err)
	}
	return dir, nil
}

// seedConfig is for a containerd that runs no containers.
const seedConfig = `version = 2
root = "%[1]s"
state = "%[2]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "%[2]s/sock"
`

func fillSeed(ctx context.Context, root string, archives []images.Archive) (err error) {
	// In the cache, where a crash leaves nothing that the next attempt does not remove.
	state := filepath.Join(filepath.Dir(root), "run")
	if err := os.MkdirAll(state, 0o711); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	config := filepath.Join(state, "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, seedConfig, root, state), 0o600); err != nil {
		return err
	}
	var log strings.Builder
	// Its mounts stay its own. It dies with this process.
	daemon := exec.Command("unshare", "--mount", "containerd", "--config="+config)
	daemon.Stdout, daemon.Stderr = &log, &log
	daemon.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	loadErr := loadSeed(ctx, filepath.Join(state, "sock"), archives)
	// Ending it closes its databases.
	if err := daemon.Process.Signal(unix.SIGTERM); err != nil {
		return errors.Join(loadErr, fmt.Errorf("end containerd: %w", err))
	}
	if err := daemon.Wait(); err != nil || loadErr != nil {
		return errors.Join(loadErr, err, fmt.Errorf("containerd said:\n%s", log.String()))
	}
	return nil
}

func loadSeed(ctx context.Context, socket string, archives []images.Archive) error {
	ctr := func(args ...string) error {
		_, err := output(exec.CommandContext(ctx, "ctr", append([]string{"--address=" + socket, "--namespace=k8s.io"},
			args...)...), "ctr")
		return err
	}
	err := poll(ctx, func(context.Context) (bool, error) {
		err := ctr("version")
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("wait for containerd: %w", err)
	}
	for _, a := range archives {
		if err := ctr("images", "import", a.Path); err != nil {
			return fmt.Errorf("import %s: %w", a.Path, err)
		}
	}
	return nil
}

// plant gives a node that has no images yet those of the seed.
func (n *Node) plant(ctx context.Context, seed string, archives []images.Archive) error {
	target := filepath.Join(n.Dir, "lib", "containerd")
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := target + ".new"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("plant images of %s: %w", n.Name, err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("plant images of %s: %w", n.Name, err)
	}
	// Ownership, modes and attributes are the images' content.
	link := exec.CommandContext(ctx, "cp", "-al", seed, partial)
	link.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if _, err := output(link, "plant images of "+n.Name); err != nil {
		return err
	}
	databases, err := filepath.Glob(filepath.Join(partial, "*", "*.db"))
	if err != nil {
		return fmt.Errorf("find databases of %s: %w", n.Name, err)
	}
	for _, name := range databases {
		body, err := os.ReadFile(name)
		if err == nil {
			err = writeFile(name, body, 0o644)
		}
		if err != nil {
			return fmt.Errorf("copy database of %s: %w", n.Name, err)
		}
	}
	for _, a := range archives {
		if err := n.markLoaded(a); err != nil {
			return err
		}
	}
	if err := os.Rename(partial, target); err != nil {
		return fmt.Errorf("plant images of %s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) loadMark(a images.Archive) string {
	return filepath.Join(n.Dir, "images", filepath.Base(a.Path))
}

func (n *Node) markLoaded(a images.Archive) error {
	return writeFile(n.loadMark(a), []byte(a.ID), 0o644)
}

// loadOnce imports the images that the node does not have already.
func (n *Node) loadOnce(ctx context.Context, archives []images.Archive) error {
	for _, a := range archives {
		if have, err := os.ReadFile(n.loadMark(a)); err == nil && string(have) == a.ID {
			continue
		}
		if err := n.LoadImage(ctx, a.Path); err != nil {
			return err
		}
		if err := n.markLoaded(a); err != nil {
			return err
		}
	}
	return nil
}
