package etcd_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/test/build"
	"github.com/maneki-net/maneki/test/etcdserver"
	"github.com/maneki-net/maneki/test/pki"
	"github.com/maneki-net/maneki/test/process"
)

// inside says that the test runs in namespaces of its own.
const inside = "MANEKI_TEST_INSIDE"

// TestTyphaAndFelix runs the two programs on an etcd with certificates, without Kubernetes, and looks at what they make
// of resources that a user wrote: in the kernel, and in etcd.
func TestTyphaAndFelix(t *testing.T) {
	kerneltest.RequireRoot(t)
	if os.Getenv(inside) == "" {
		ctx, cancel := context.WithTimeout(t.Context(), 5*limit)
		defer cancel()
		again := exec.CommandContext(ctx, "unshare", "--net", "--mount", os.Args[0], "-test.run=^TestTyphaAndFelix$",
			"-test.v")
		again.Env = append(os.Environ(), inside+"=1")
		if out, err := again.CombinedOutput(); err != nil {
			t.Fatalf("in namespaces of its own: %v\n%s", err, out)
		}
		return
	}
	for _, line := range []string{
		// What the programs keep in files is gone with the namespace.
		"mount -t tmpfs tmpfs /var/lib", "mount -t tmpfs tmpfs /run",
		"ip link set lo up", "ip link add eth0 type veth peer name lan", "ip addr add 192.0.2.1/24 dev eth0",
		"ip link set eth0 up", "ip link set lan up",
		"ip link add cali0123 type veth peer name workload", "ip link set cali0123 up", "ip link set workload up",
	} {
		kerneltest.Run(t, line)
	}
	server := etcdserver.Start(t, etcdserver.Options{TLS: true, Auth: true})
	store := open(t, server.Config)
	write(t, store)
	typha, felix := startPrograms(t, server.Config)
	ctx := bounded(t)

	eventually(ctx, t, typha, "the endpoint has its route and its chains", func() error {
		if routes := kerneltest.Run(t, "ip route show dev cali0123"); !strings.Contains(routes, "10.65.0.5") {
			return fmt.Errorf("routes of cali0123: %s", routes)
		}
		rules := kerneltest.Run(t, "iptables-nft-save -t filter")
		for _, want := range []string{"cali0123", "--dports 8080", "--dports 9090", "eth0"} {
			if !strings.Contains(rules, want) {
				return fmt.Errorf("the rules have no %s:\n%s", want, rules)
			}
		}
		return nil
	})
	eventually(ctx, t, felix, "the Node in etcd has the tunnel's address", func() error {
		node, err := datastore.Get[*v3.Node](ctx, store, datastore.CalicoNodes, datastore.Key{Name: "n1"})
		if err != nil {
			return err
		}
		addr, err := netip.ParseAddr(node.Spec.IPv4VXLANTunnelAddr)
		if err != nil || !netip.MustParsePrefix("10.65.0.0/24").Contains(addr) ||
			node.Spec.BGP.IPv4Address != "192.0.2.1/24" {
			return fmt.Errorf("node %+v: %w", node.Spec, err)
		}
		return nil
	})
	for kind, name := range map[datastore.Kind]string{datastore.FelixConfigurations: "default",
		datastore.BGPConfigurations:   "default",
		datastore.ClusterInformations: "default", datastore.Tiers: "kube-baseline"} {
		eventually(ctx, t, felix, "there is the "+kind.String()+" "+name, func() error {
			_, err := store.Get(ctx, kind, datastore.Key{Name: name})
			return err
		})
	}

	// An object of no use hurts itself alone, and what comes after it counts.
	if _, err := server.Admin().Put(ctx, "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/broken",
		`{"spec": 7}`); err != nil {
		t.Fatal(err)
	}
	if _, err := datastore.Modify(ctx, store, datastore.WorkloadEndpoints,
		datastore.Key{Namespace: "shop", Name: "n1-vm-web-eth0"}, func(e *v3.WorkloadEndpoint) error {
			e.Spec.IPNetworks = append(e.Spec.IPNetworks, "10.65.0.6/32")
			return nil
		}); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, felix, "a second address is routed", func() error {
		if routes := kerneltest.Run(t, "ip route show dev cali0123"); !strings.Contains(routes, "10.65.0.6") {
			return fmt.Errorf("routes of cali0123: %s", routes)
		}
		return nil
	})
	// While the datastore is not ready, the node keeps what it has.
	setReady := func(ready bool) {
		t.Helper()
		_, err := datastore.Modify(ctx, store, datastore.ClusterInformations, datastore.Key{Name: "default"},
			func(o *v3.ClusterInformation) error {
				o.Spec.DatastoreReady = &ready
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
	}
	setReady(false)
	eventually(ctx, t, felix, "the node says that the datastore is not ready", func() error {
		status, err := exec.CommandContext(ctx, filepath.Join(binaries(t), "felix"), "status").CombinedOutput()
		if err == nil && !strings.Contains(string(status), "datastoreReady: false") {
			err = fmt.Errorf("its status is %s", status)
		}
		return err
	})
	if err := store.Delete(ctx, datastore.WorkloadEndpoints, datastore.Key{Namespace: "shop", Name: "n1-vm-web-eth0"},
		datastore.Preconditions{}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if routes := kerneltest.Run(t, "ip route show dev cali0123"); !strings.Contains(routes, "10.65.0.6") {
			t.Fatalf("the deletion was applied; the routes of cali0123 are %q", routes)
		}
	}
	setReady(true)
	eventually(ctx, t, felix, "the endpoint's routes are gone with it", func() error {
		if routes := kerneltest.Run(t, "ip route show dev cali0123"); strings.Contains(routes, "10.65.0.") {
			return fmt.Errorf("routes of cali0123: %s", routes)
		}
		return nil
	})
}

// binaries returns the folder of the programs, which are built.
func binaries(t *testing.T) string {
	t.Helper()
	builder, err := build.Here(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return builder.Dir()
}

// write makes the resources of a user: a node, a pool, a workload with a profile and a policy, and the node's
// interface.
func write(t *testing.T, s datastore.Store) {
	t.Helper()
	for _, o := range []datastore.Object{
		&v3.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"},
			Spec: v3.NodeSpec{BGP: &v3.NodeBGPSpec{IPv4Address: "192.0.2.1/24"}}},
		&v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "pool"}, Spec: v3.IPPoolSpec{CIDR: "10.65.0.0/24", BlockSize: 26,
			VXLANMode: v3.VXLANModeAlways, IPIPMode: v3.IPIPModeNever, NodeSelector: "all()"}},
		&v3.Profile{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v3.ProfileSpec{
			Ingress: []v3.Rule{allow(8080)}, Egress: []v3.Rule{{Action: v3.Allow}}}},
		&v3.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "n1-vm-web-eth0",
			Labels: map[string]string{"app": "web"}},
			Spec: v3.WorkloadEndpointSpec{Node: "n1", Orchestrator: "vm", Workload: "web", Endpoint: "eth0",
				InterfaceName: "cali0123",
				IPNetworks:    []string{"10.65.0.5/32"}, Profiles: []string{"web"}}},
		&v3.HostEndpoint{ObjectMeta: metav1.ObjectMeta{Name: "n1-eth0", Labels: map[string]string{"host": "yes"}},
			Spec: v3.HostEndpointSpec{Node: "n1", InterfaceName: "eth0", ExpectedIPs: []string{"192.0.2.1"}}},
		&v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "hosts"}, Spec: v3.GlobalNetworkPolicySpec{
			Tier: "default", Selector: "host == 'yes'", Types: []v3.PolicyType{v3.PolicyTypeIngress},
			Ingress: []v3.Rule{allow(9090)}}},
	} {
		kind, err := datastore.KindOf(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(bounded(t), kind, o); err != nil {
			t.Fatal(err)
		}
	}
}

// startPrograms runs Typha and Felix with settings from the environment alone.
func startPrograms(t *testing.T, config etcd.Config) (typha, felix *process.Process) {
	t.Helper()
	dir := t.TempDir()
	authority, err := pki.New("test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(commonName string) string {
		pair, err := authority.Issue(commonName, time.Hour)
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, commonName), 0o700)
		}
		if err == nil {
			err = authority.Write(filepath.Join(dir, commonName), pair)
		}
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, commonName) + "/"
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	server, client := certificate("typha"), certificate("node:n1")
	for name, value := range map[string]string{
		"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": config.Endpoints, "ETCD_USERNAME": config.Username,
		"ETCD_PASSWORD":     config.Password,
		"ETCD_CA_CERT_FILE": config.CAFile, "ETCD_CERT_FILE": config.CertFile, "ETCD_KEY_FILE": config.KeyFile,
		"TYPHA_SERVERPORT": fmt.Sprint(ports[0]), "TYPHA_CAFILE": server + pki.CAFile,
		"TYPHA_SERVERCERTFILE": server + pki.CertFile,
		"TYPHA_SERVERKEYFILE":  server + pki.KeyFile, "TYPHA_CLIENTCN": "node:n1",
		"FELIX_TYPHAADDR": fmt.Sprintf("127.0.0.1:%d", ports[0]), "FELIX_TYPHACN": "typha",
		"FELIX_TYPHACAFILE":   client + pki.CAFile,
		"FELIX_TYPHACERTFILE": client + pki.CertFile, "FELIX_TYPHAKEYFILE": client + pki.KeyFile,
		"FELIX_FELIXHOSTNAME": "n1", "FELIX_IPTABLESBACKEND": "nft",
	} {
		t.Setenv(name, value)
	}
	builder, err := build.Here(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var started []*process.Process
	for _, name := range []string{"typha", "felix"} {
		program, err := builder.Program(t.Context(), "./cmd/"+name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := process.Launch(filepath.Join(dir, name+".log"), program)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		started = append(started, p)
	}
	return started[0], started[1]
}

func allow(port int32) v3.Rule {
	tcp := intstr.FromString("TCP")
	return v3.Rule{Action: v3.Allow, Protocol: &tcp,
		Destination: v3.EntityRule{Ports: []intstr.IntOrString{intstr.FromInt32(port)}}}
}

// eventually waits for a state that a program brings about.
func eventually(ctx context.Context, t *testing.T, p *process.Process, state string, check func() error) {
	t.Helper()
	if err := p.Until(ctx, "so far that "+state, func(context.Context) error { return check() }); err != nil {
		t.Fatal(err)
	}
}
