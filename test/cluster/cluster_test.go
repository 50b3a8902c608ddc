package cluster

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// needRoot skips the test where it can't run; in CI it has to.
func needRoot(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("brings a cluster up: not with -short")
	}
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("brings a cluster up: needs root")
	}
	t.Skip("brings a cluster up: needs root")
}

// testConfig is a cluster of the test's own, taken down when the test ends.
func testConfig(t *testing.T) Config {
	t.Helper()
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	c, err := Config{Name: "t" + hex.EncodeToString(random[:]), Nodes: 2, Subnets: 2, CNI: CNIPtp,
		Progress: t.Output()}.complete()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if cl, err := Open(c); err == nil {
				dir, err := cl.Dump(context.Background())
				t.Logf("cluster written down in %s: %v", dir, err)
			}
			if os.Getenv("KEEP") == "1" {
				t.Logf("cluster %s is kept", c.Name)
				return
			}
		}
		if err := Down(context.Background(), c); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestCluster goes through what the package promises, on one cluster.
func TestCluster(t *testing.T) {
	needRoot(t)
	c := testConfig(t)
	cl, err := Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := cl.Apply(t.Context(), []byte(testPods)); err != nil {
		t.Fatal(err)
	}
	kubectl(t, cl, "wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=60s")
	t.Run("pods", func(t *testing.T) { testPodNetwork(t, cl) })
	t.Run("kubectl", func(t *testing.T) { testKubectl(t, cl) })
	t.Run("credentials", func(t *testing.T) { testCredentials(t, cl) })
	t.Run("mounts", func(t *testing.T) { testMounts(t, cl) })
	t.Run("converge", func(t *testing.T) { testConverge(t, cl) })
	t.Run("load", func(t *testing.T) { testLoad(t, cl) })
	t.Run("redeploy", func(t *testing.T) { testRedeploy(t, cl) })
	t.Run("down", func(t *testing.T) {
		if left := remains(t, cl.record); len(left) == 0 {
			t.Error("nothing is found of a running cluster: the search is blind")
		}
		if err := cl.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := remains(t, cl.record); len(left) > 0 {
			t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
		}
	})
}

const testPods = `
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  nodeName: node1
  containers:
  - name: main
    image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
    args: [netexec]
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}}
spec:
  nodeName: node2
  containers:
  - name: main
    image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
    args: [netexec]
    securityContext: {privileged: true}
    volumeMounts:
    - {name: shared, mountPath: /shared, mountPropagation: Bidirectional}
    - {name: cni, mountPath: /cni}
  volumes:
  - {name: shared, hostPath: {path: /var/lib/shared, type: DirectoryOrCreate}}
  - {name: cni, hostPath: {path: /etc/cni/net.d}}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: b}
  ports: [{port: 80, targetPort: 8080}]
`

func kubectl(t *testing.T, cl *Cluster, args ...string) string {
	t.Helper()
	out, err := cl.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func testPodNetwork(t *testing.T, cl *Cluster) {
	for _, family := range []string{"-4", "-6"} {
		got := kubectl(t, cl, "exec", "a", "--", "curl", family, "-sSm5", "--retry", "5", "--retry-connrefused",
			"http://b.default.svc.cluster.local/hostname")
		if got != "b" {
			t.Errorf("a reached %q by the name of Service b over IP%s, want pod b", got, family)
		}
	}
	zone := kubectl(t, cl, "get", "node", "node2", "-o", `jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}`)
	if zone != "subnet2" {
		t.Errorf("zone of node2 is %q, want subnet2", zone)
	}
	if _, err := cl.Tor().Exec(t.Context(), "ping", "-c1", "-W5",
		kubectl(t, cl, "get", "pod", "b", "-o", "jsonpath={.status.podIP}")); err != nil {
		t.Errorf("tor does not reach a pod through the router: %v", err)
	}
}

func testKubectl(t *testing.T, cl *Cluster) {
	if got := kubectl(t, cl, "logs", "b"); !strings.Contains(got, "Started HTTP server") {
		t.Errorf("logs of b: %q", got)
	}
	cmd, err := cl.KubectlCommand(t.Context(), "port-forward", "pod/b", ":8080")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	// "Forwarding from 127.0.0.1:PORT -> 8080"
	resp, err := http.Get("http://" + strings.Fields(line)[2] + "/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "b" {
		t.Errorf("forwarded port answers %q, %v; want b", body, err)
	}
}

func testCredentials(t *testing.T, cl *Cluster) {
	const script = `cd /var/run/secrets/kubernetes.io/serviceaccount &&
curl -sS -m5 --cacert ca.crt -H "Authorization: Bearer $(cat token)" https://kubernetes.default.svc/api/v1/namespaces/default/pods`
	got := kubectl(t, cl, "exec", "a", "--", "sh", "-c", script)
	if !strings.Contains(got, `system:serviceaccount:default:default\" cannot list`) {
		t.Errorf("the API server does not know the pod by its token: %s", got)
	}
	node2 := cl.Nodes()[1]
	pki := filepath.Join(cl.Dir(), "pki", "kubelet-node2")
	as := []string{"--client-certificate=" + pki + ".crt", "--client-key=" + pki + ".key"}
	if _, err := cl.Kubectl(t.Context(), append(as, "get", "node", node2.Name)...); err != nil {
		t.Error(err)
	}
	if _, err := cl.Kubectl(t.Context(), append(as, "label", "node", "node1", "a=b")...); err == nil ||
		!strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("node2 changes node1: %v", err)
	}
	if _, err := cl.Kubectl(t.Context(), append(as, "get", "secrets", "-A")...); err == nil ||
		!strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("node2 reads all secrets: %v", err)
	}
}

// testMounts proves that a pod's hostPath is the node's, that mounts propagate
// to the node, and that nothing reaches the machine.
func testMounts(t *testing.T, cl *Cluster) {
	kubectl(t, cl, "exec", "b", "--", "sh", "-c",
		"touch /cni/from-pod && mkdir /shared/m && mount -t tmpfs from-pod /shared/m")
	node1, node2 := cl.Nodes()[0], cl.Nodes()[1]
	mounts, err := node2.Exec(t.Context(), "cat", "/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(mounts, "from-pod /var/lib/shared/m tmpfs") {
		t.Errorf("a mount made in the pod is not in its node:\n%s", mounts)
	}
	if _, err := node2.Exec(t.Context(), "test", "-e", "/etc/cni/net.d/from-pod"); err != nil {
		t.Errorf("a file made in a hostPath is not in the node: %v", err)
	}
	if _, err := node1.Exec(t.Context(), "test", "-e", "/etc/cni/net.d/from-pod"); err == nil {
		t.Error("a file made in a hostPath on node2 is on node1")
	}
	if _, err := os.Stat("/etc/cni/net.d/from-pod"); err == nil {
		t.Error("a file made in a hostPath is on the machine")
	}
	for _, where := range []string{"/proc/mounts", fmt.Sprintf("/proc/%d/mounts", pidOf(t, node1))} {
		body, err := os.ReadFile(where)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), "from-pod") {
			t.Errorf("a mount made in a pod of node2 is in %s", where)
		}
	}
	if host, err := node2.Exec(t.Context(), "hostname"); err != nil || host != "node2\n" {
		t.Errorf("host name %q, %v", host, err)
	}
}

func pidOf(t *testing.T, n *Node) int {
	t.Helper()
	pid, err := n.pid()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// testConverge brings the cluster up again, as it is and after losing a process
// and a node, and with a node more.
func testConverge(t *testing.T, cl *Cluster) {
	before := processes(t, cl)
	if _, err := Up(t.Context(), cl.config); err != nil {
		t.Fatal(err)
	}
	for name, pid := range processes(t, cl) {
		if before[name] != pid {
			t.Errorf("%s was process %d and is %d: nothing asked for a restart", name, before[name], pid)
		}
	}
	node1, node2 := cl.Nodes()[0], cl.Nodes()[1]
	if err := node1.init.Stop(t.Context(), "kube-scheduler"); err != nil {
		t.Fatal(err)
	}
	if err := kill(t.Context(), pidOf(t, node2)); err != nil {
		t.Fatal(err)
	}
	grown := cl.config
	grown.Nodes++
	again, err := Up(t.Context(), grown)
	if err != nil {
		t.Fatal(err)
	}
	after := processes(t, again)
	if after["node1/kube-scheduler"] == 0 || after["node2/kubelet"] == 0 || after["node3/kubelet"] == 0 {
		t.Errorf("after a second up run: %v", after)
	}
	if after["node1/kube-apiserver"] != before["node1/kube-apiserver"] {
		t.Error("a process that ran was restarted")
	}
	*cl = *again
}

func processes(t *testing.T, cl *Cluster) map[string]int {
	t.Helper()
	pids := map[string]int{}
	for _, n := range cl.Nodes() {
		status, err := n.init.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range status {
			pids[n.Name+"/"+name] = p.PID
		}
	}
	return pids
}

func testLoad(t *testing.T, cl *Cluster) {
	if err := cl.LoadImage(t.Context(), filepath.Join(cl.config.Root, ".cache/images/pause.tar")); err != nil {
		t.Error(err)
	}
	if err := cl.LoadImage(t.Context(), "/dev/null"); err == nil {
		t.Error("an empty archive was loaded")
	}
}

// testRedeploy replaces a component that needs nothing of the product.
func testRedeploy(t *testing.T, cl *Cluster) {
	workloads["test"] = workload{"pause", "redeployed"}
	defer delete(workloads, "test")
	if err := cl.Redeploy(t.Context(), "test"); err == nil ||
		!strings.Contains(err.Error(), "install the chart first") {
		t.Errorf("a component that does not run: %v", err)
	}
	if err := cl.Apply(t.Context(), []byte(testDeployment)); err != nil {
		t.Fatal(err)
	}
	kubectl(t, cl, "rollout", "status", "deployment/redeployed", "--timeout=60s")
	before, err := cl.api.pods(t.Context(), "redeployed")
	if err != nil {
		t.Fatal(err)
	}
	if err := cl.Redeploy(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	after, err := cl.api.pods(t.Context(), "redeployed")
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != 2 || len(after) != 2 {
		t.Fatalf("%d pods became %d, want 2", len(before), len(after))
	}
	for i, p := range after {
		if !p.ready() || p.Metadata.UID == before[0].Metadata.UID || p.Metadata.UID == before[1].Metadata.UID {
			t.Errorf("pod %d was not replaced by one that is Ready: %+v", i, p)
		}
	}
}

const testDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: redeployed}
spec:
  replicas: 2
  selector: {matchLabels: {k8s-app: redeployed}}
  template:
    metadata: {labels: {k8s-app: redeployed}}
    spec: {containers: [{name: main, image: "registry.k8s.io/pause:3.10.2"}]}
`

// remains searches the machine for whatever belongs to the cluster.
func remains(t *testing.T, r record) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{
		r.State, recordPath(r.Config.Name), filepath.Join(recordDir, r.Config.Name+"*"),
		filepath.Join(netnsDir, r.Config.Name+"-*"), "/sys/class/net/" + r.uplinkName(),
		"/sys/fs/cgroup/*/" + r.cgroup(), "/sys/fs/cgroup/" + r.cgroup(),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, r.State) || strings.Contains(line, netnsDir+"/"+r.Config.Name+"-") {
			left = append(left, line)
		}
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range cmdlines {
		body, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(body), r.State) {
			left = append(left, name+" "+strings.ReplaceAll(string(body), "\x00", " "))
		}
	}
	return left
}

// TestDownAfterCrash kills a process that brings a cluster up, at several
// points, and takes down what it had made.
func TestDownAfterCrash(t *testing.T) {
	needRoot(t)
	binary := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.Command("go", "build", "-o", binary, "./cmd/cluster").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, after := range []string{"network:", "control plane on", "containerd of node2", "the API server"} {
		t.Run(strings.Trim(after, ":"), func(t *testing.T) {
			c := testConfig(t)
			cmd := exec.Command(binary, "--name="+c.Name, "up", "--nodes=2", "--cni=ptp")
			progress, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(progress)
			for lines.Scan() && !strings.Contains(lines.Text(), after) {
				t.Log(lines.Text())
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
				t.Fatalf("up ended by itself: %v", err)
			}
			r, err := readRecord(c.Name)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := Down(ctx, c); err != nil {
				t.Fatal(err)
			}
			if left := remains(t, r); len(left) > 0 {
				t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}
