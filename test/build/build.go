// Package build compiles the programs that tests and images use, and keeps them
// under the checkout's .cache/bin.
//
// It owns that folder: programs of the product, which are compiled whenever
// they are asked for (the Go build cache makes that cheap), and those of the
// modules under hack/, which are compiled once for each state of the module. It
// never downloads anything but Go modules. A Builder may be used by any number
// of goroutines and processes at once: file locks keep them from doing the same work.
package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Builder compiles programs of one checkout.
type Builder struct {
	// Root is the checkout, absolute.
	Root string
	// Progress takes a line when a build starts, proceeds and ends.
	Progress io.Writer
}

// New returns a Builder of the checkout at root.
func New(root string, progress io.Writer) (Builder, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return Builder{}, fmt.Errorf("find checkout %s: %w", root, err)
	}
	return Builder{Root: abs, Progress: progress}, nil
}

// Here returns a Builder of the checkout that the working directory lies in, as a test's does.
func Here(progress io.Writer) (Builder, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Builder{}, err
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		parent := filepath.Dir(dir)
		if parent == dir {
			return Builder{}, errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
	return Builder{Root: dir, Progress: progress}, nil
}

// module is a folder under hack/ and what is built of it.
type module struct {
	name     string
	packages []string
	// versioned is the required module whose version the programs must know.
	versioned string
}

var modules = []module{
	{"kubernetes", []string{
		"k8s.io/kubernetes/cmd/kube-apiserver",
		"k8s.io/kubernetes/cmd/kube-controller-manager",
		"k8s.io/kubernetes/cmd/kube-scheduler",
		"k8s.io/kubernetes/cmd/kube-proxy",
		"k8s.io/kubernetes/cmd/kubelet",
		"k8s.io/kubernetes/cmd/kubectl",
		"k8s.io/kubernetes/test/images/agnhost",
	}, "k8s.io/kubernetes"},
	{"etcd", []string{"."}, ""},
	{"coredns", []string{"."}, ""},
	{"portmap", []string{"github.com/containernetworking/plugins/plugins/meta/portmap"}, ""},
	{"helm", []string{"helm.sh/helm/v3/cmd/helm"}, ""},
}

// Dir is where programs are kept.
func (b Builder) Dir() string { return filepath.Join(b.Root, ".cache", "bin") }

// Program compiles a main package of the product, such as "./cmd/felix", and
// returns the path of the static binary.
func (b Builder) Program(ctx context.Context, pkg string) (string, error) {
	out := filepath.Join(b.Dir(), filepath.Base(pkg))
	// Stamped with the commit, whatever GOFLAGS says: "version" tells it.
	args := []string{"build", "-trimpath", "-buildvcs=auto", "-ldflags", "-s -w", "-o", out, pkg}
	if err := b.goBuild(ctx, b.Root, filepath.Base(pkg), args); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	return out, nil
}

// Module compiles the programs of the module hack/NAME unless that was done, and
// returns the folder that holds them.
func (b Builder) Module(ctx context.Context, name string) (string, error) {
	for _, m := range modules {
		if m.name == name {
			dir, err := b.module(ctx, m)
			if err != nil {
				return "", fmt.Errorf("build hack/%s: %w", name, err)
			}
			return dir, nil
		}
	}
	return "", fmt.Errorf("build hack/%s: no such module", name)
}

func (b Builder) module(ctx context.Context, m module) (string, error) {
	source := filepath.Join(b.Root, "hack", m.name)
	flags, err := m.ldflags(source)
	if err != nil {
		return "", err
	}
	key, err := moduleKey(ctx, source, append(m.packages, flags))
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.Dir(), m.name+"-"+key)
	if exists(dir) {
		return dir, nil
	}
	unlock, err := lockFile(filepath.Join(b.Dir(), m.name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(dir) {
		return dir, nil
	}
	stale, err := filepath.Glob(filepath.Join(b.Dir(), m.name+"-*"))
	if err != nil {
		return "", fmt.Errorf("list old builds: %w", err)
	}
	// A folder appears when it is complete, and not before.
	partial := filepath.Join(b.Dir(), "."+m.name)
	args := append([]string{"build", "-v", "-trimpath", "-ldflags", flags, "-o", partial + "/"}, m.packages...)
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", err
	}
	if err := b.goBuild(ctx, source, m.name, args); err != nil {
		return "", err
	}
	if err := os.Rename(partial, dir); err != nil {
		return "", err
	}
	var errs []error
	for _, s := range stale {
		errs = append(errs, os.RemoveAll(s))
	}
	return dir, errors.Join(errs...)
}

var semver = regexp.MustCompile(`v(\d+)\.(\d+)\.\d+`)

// ldflags are the linker's; Kubernetes programs disagree with each other when
// they do not know their version.
func (m module) ldflags(source string) (string, error) {
	flags := "-s -w"
	if m.versioned == "" {
		return flags, nil
	}
	body, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(body)) {
		if _, version, ok := strings.Cut(line, m.versioned+" v"); ok {
			v := semver.FindStringSubmatch("v" + strings.TrimSpace(version))
			if v == nil {
				break
			}
			const at = "k8s.io/component-base/version."
			return fmt.Sprintf("%s -X %sgitVersion=%s -X %sgitMajor=%s -X %sgitMinor=%s", flags, at, v[0], at, v[1], at,
				v[2]), nil
		}
	}
	return "", fmt.Errorf("go.mod does not name a release of %s", m.versioned)
}

// moduleKey hashes all that the programs depend on.
func moduleKey(ctx context.Context, source string, more []string) (string, error) {
	h := sha256.New()
	files, err := filepath.Glob(filepath.Join(source, "*"))
	if err != nil {
		return "", err
	}
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", filepath.Base(name), len(body), body)
	}
	version, err := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("ask for the version of go: %w", err)
	}
	fmt.Fprintf(h, "%s%q", version, more)
	return fmt.Sprintf("%x", h.Sum(nil)[:6]), nil
}

// goBuild runs the go command without cgo, so that binaries are static.
func (b Builder) goBuild(ctx context.Context, dir, name string, args []string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	p := &progress{out: b.Progress, name: name, start: time.Now()}
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, bytes.TrimSpace(p.text.Bytes()))
	}
	p.end()
	return nil
}

// progress turns the output of "go build -v", one line a package, into a few lines.
type progress struct {
	out      io.Writer
	name     string
	start    time.Time
	text     bytes.Buffer
	packages int
}

// progressEvery is the number of packages compiled between two lines.
const progressEvery = 250

func (p *progress) Write(b []byte) (int, error) {
	p.text.Write(b)
	for range bytes.Count(b, []byte("\n")) {
		if p.packages%progressEvery == 0 {
			fmt.Fprintf(p.out, "building %s: %d packages compiled, %s\n", p.name, p.packages,
				time.Since(p.start).Round(time.Second))
		}
		p.packages++
	}
	return len(b), nil
}

func (p *progress) end() {
	if p.packages > 0 {
		fmt.Fprintf(p.out, "built %s in %s\n", p.name, time.Since(p.start).Round(time.Second))
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// lockFile waits for its turn. The file stays: it lies in a cache.
func lockFile(name string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}
