package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/test/cluster/nodeinit"
)

// Node is a running node.
type Node struct {
	NodePlan
	// Dir holds the node's writable directories, as the machine sees them: root
	// (the upper layer of its root), log, lib and kubernetes, which the node
	// has as /var/log, /var/lib and /etc/kubernetes.
	Dir string

	record record
	init   nodeinit.Client
}

func (r record) node(n NodePlan) *Node {
	return &Node{
		NodePlan: n,
		Dir:      filepath.Join(r.State, "nodes", n.Name),
		record:   r,
		init:     nodeinit.Client{Socket: filepath.Join(recordDir, r.Config.Name+"-"+n.Name+".sock")},
	}
}

func (r record) cgroup() string { return "maneki/" + r.Config.Name }

// boot makes the node's namespaces and root, unless it runs already.
func (n *Node) boot(ctx context.Context, binary string) error {
	if _, err := n.init.Status(ctx); err == nil {
		return nil
	}
	for _, dir := range []string{"root", "work/work", "log", "lib", "kubernetes"} {
		if err := os.MkdirAll(filepath.Join(n.Dir, dir), 0o755); err != nil {
			return fmt.Errorf("make directories of %s: %w", n.Name, err)
		}
	}
	cache := filepath.Join(n.record.Config.Root, ".cache")
	spec := nodeinit.Spec{
		Cluster: n.record.State,
		Node:    n.Name,
		NetNS:   n.record.netnsPath(n.Name),
		Cgroup:  n.record.cgroup() + "/" + n.Name,
		Socket:  n.init.Socket,
		Upper:   filepath.Join(n.Dir, "root"),
		Work:    filepath.Join(n.Dir, "work"),
		Binds: []nodeinit.Bind{
			{Source: filepath.Join(n.Dir, "log"), Target: "/var/log"},
			{Source: filepath.Join(n.Dir, "lib"), Target: "/var/lib"},
			{Source: filepath.Join(n.Dir, "kubernetes"), Target: "/etc/kubernetes"},
			// Changes below an overlay are not seen through it; the cache changes.
			{Source: cache, Target: cache, ReadOnly: true},
		},
		Files: map[string]string{"/etc/hostname": n.Name + "\n", "/etc/resolv.conf": ""},
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode spec of %s: %w", n.Name, err)
	}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Stdin = bytes.NewReader(body)
	// A node must not come up behind the back of a Down after this process was killed.
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("boot %s: %w: %s", n.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

// configure writes the node's files under /etc/kubernetes and returns a
// revision that changes with them.
func (n *Node) configure(p Plan) (revision string, err error) {
	dir := filepath.Join(n.Dir, "kubernetes")
	controlPlane := n.Name == p.Nodes[0].Name
	files := map[string][]byte{}
	for _, name := range nodeFiles(n.NodePlan, controlPlane) {
		files["pki/"+name], err = os.ReadFile(filepath.Join(n.record.State, "pki", name))
		if err != nil {
			return "", fmt.Errorf("read credentials: %w", err)
		}
	}
	users := map[string]string{"kubelet": "kubelet-" + n.Name, "kube-proxy": "kube-proxy"}
	if controlPlane {
		users["controller-manager"] = "controller-manager"
		users["scheduler"] = "scheduler"
	}
	for name, certificate := range users {
		files[name+".conf"] = kubeconfig(p.apiEndpoint(), nodePKI, certificate)
	}
	for _, name := range []string{"containerd.toml", "kubelet.yaml", "kube-proxy.yaml"} {
		files[name], err = render(name, newTemplateData(n.record.Config, p, n.NodePlan))
		if err != nil {
			return "", err
		}
	}
	for name, body := range files {
		if err := writeFile(filepath.Join(dir, name), body, 0o600); err != nil {
			return "", fmt.Errorf("configure %s: %w", n.Name, err)
		}
	}
	sorted, err := json.Marshal(files) // a map's keys are sorted
	if err != nil {
		return "", fmt.Errorf("hash configuration of %s: %w", n.Name, err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(sorted)), nil
}

// pid returns the machine's id of the node's process 1, found by its arguments:
// no file that could be stale says it.
func (n *Node) pid() (int, error) {
	holders, err := findHolders(n.record.State)
	if err != nil {
		return 0, err
	}
	if pid, ok := holders[n.Name]; ok {
		return pid, nil
	}
	return 0, fmt.Errorf("node %s of cluster %s does not run", n.Name, n.record.Config.Name)
}

// findHolders finds process 1 of every node whose state is there, by node.
func findHolders(state string) (map[string]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	holders := map[string]int{}
	for _, dir := range dirs {
		body, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue // ended meanwhile
		}
		argv := strings.Split(string(body), "\x00")
		if len(argv) != 5 || argv[0] != "/proc/self/exe" || argv[1] != "run" || argv[2] != state {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		holders[argv[3]] = pid
	}
	return holders, nil
}

// Command returns a command that runs in all the node's namespaces, as a process
// of the node would.
func (n *Node) Command(ctx context.Context, argv ...string) (*exec.Cmd, error) {
	pid, err := n.pid()
	if err != nil {
		return nil, err
	}
	enter := []string{"-t", strconv.Itoa(pid), "-m", "-u", "-i", "-n", "-p", "-C", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...)
	cmd.Dir = "/"
	return cmd, nil
}

// Exec runs a command in the node and returns its standard output. The error holds what
// it wrote to standard error.
func (n *Node) Exec(ctx context.Context, argv ...string) (string, error) {
	cmd, err := n.Command(ctx, argv...)
	if err != nil {
		return "", err
	}
	return output(cmd, n.Name+": "+strings.Join(argv, " "))
}

// Path translates a path of the node's into one that the machine can use. It
// holds while the node runs.
func (n *Node) Path(path string) (string, error) {
	pid, err := n.pid()
	if err != nil {
		return "", err
	}
	return filepath.Join("/proc", strconv.Itoa(pid), "root", path), nil
}

// writeRoot writes a file of the node's root, as the node would.
func (n *Node) writeRoot(path string, body []byte) error {
	reachable, err := n.Path(path)
	if err != nil {
		return err
	}
	if err := writeFile(reachable, body, 0o644); err != nil {
		return fmt.Errorf("write %s of %s: %w", path, n.Name, err)
	}
	return nil
}

// LoadImage imports an image archive into the node.
func (n *Node) LoadImage(ctx context.Context, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("load image: %w", err)
	}
	defer f.Close()
	cmd, err := n.Command(ctx, "ctr", "--address="+containerdSock, "--namespace=k8s.io", "images", "import", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = f
	_, err = output(cmd, fmt.Sprintf("load %s into %s", filepath.Base(archive), n.Name))
	return err
}

func output(cmd *exec.Cmd, what string) (string, error) {
	var stderr bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", what, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}
