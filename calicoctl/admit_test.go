package calicoctl

import (
	"strings"
	"testing"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/datastore/memory"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// Where there is no API server, this program completes and judges what is stored: a store in memory does neither, as
// etcd.
func TestEtcdDatastore(t *testing.T) {
	b := newBench(t)
	b.store = memory.New()
	b.env = map[string]string{"ETCD_ENDPOINTS": "https://etcd:2379"}
	b.writesAsAnAPIServer()
	b.writesWhatKubernetesHas()
}

func TestAgainstEtcd(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an etcd")
	}
	server := etcdserver.Start(t, etcdserver.Options{TLS: true, Auth: true})
	b := newBench(t)
	b.open = func(c Connection) (datastore.Store, error) {
		store, err := etcd.New(c.Etcd)
		if err == nil {
			t.Cleanup(func() { _ = store.Close() }) // nothing is left to lose
		}
		return store, err
	}
	b.env = map[string]string{"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": server.Config.Endpoints,
		"ETCD_CA_CERT_FILE":    server.Config.CAFile,
		"CALICO_ETCD_USERNAME": server.Config.Username, "ETCD_PASSWORD": server.Config.Password,
		"ETCD_CERT_FILE": server.Config.CertFile, "ETCD_KEY_FILE": server.Config.KeyFile}
	var err error
	b.store, err = b.open(Connection{Etcd: server.Config})
	if err != nil {
		t.Fatal(err)
	}
	b.writesAsAnAPIServer()
	b.writesWhatKubernetesHas()
	b.want("apply -f -", seedExample, "IPPool default-pool created\nBGPPeer peer-to-router created\n")
	b.want("patch bgppeer peer-to-router -p {spec:~{asNumber:~64513}}", "", "BGPPeer peer-to-router patched\n")
	b.want("get bgppeers", "", "NAME             PEERIP        NODE       ASN\npeer-to-router   192.168.1.1   "+
		"(global)   64513\n")
	exported, _, _ := b.run("get ippools -o yaml --export", "")
	b.want("delete -f -", seedExample, "IPPool default-pool deleted\nBGPPeer peer-to-router deleted\n")
	b.want("apply -f -", exported, "IPPool a unchanged\nIPPool default-pool created\n")

	const broken = "/calico/resources/v3/projectcalico.org/ippools/broken"
	if _, err := server.Admin().Put(t.Context(), broken, "{"); err != nil {
		t.Fatal(err)
	}
	out, errs, code := b.run("get ippools -o name", "")
	if code != 1 || out != "ippool/a\nippool/default-pool\n" || !strings.Contains(errs, "IPPool broken") {
		t.Errorf("with one that cannot be read: exit code %d: %s%s", code, out, errs)
	}
	b.env["ETCD_PASSWORD"] = "wrong"
	b.refused("get ippools", "", "list IPPool")
}

func (b *bench) writesAsAnAPIServer() {
	b.t.Helper()
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a created\n")
	if a := b.pool("a"); a.Spec.NodeSelector != "all()" || a.Spec.AssignmentMode != "Automatic" {
		b.t.Errorf("without defaults: %+v", a.Spec)
	}
	b.want("apply -f -", pool("a", "cidr: 10.1.0.0/16"), "IPPool a unchanged\n")
	b.refused("apply -f -", pool("b", "cidr: 10.1.128.0/24"), "IPPool b", "overlaps IPPool a")
	b.refused("apply -f -", pool("a", "cidr: 10.2.0.0/16"), "IPPool a", "spec.cidr", "cannot be changed")
	b.refused("patch ippool a -p {spec:~{blockSize:~20}}", "", "IPPool a", "spec.blockSize", "cannot be changed")
	b.refused("create --dry-run=server -f -", pool("b", "cidr: 10.1.128.0/24"), "overlaps IPPool a")
	b.want("create --dry-run=server -f -", pool("b", "cidr: 10.2.0.0/16"), "IPPool b created (server dry run)\n")
	b.want("get ippools -o name", "", "ippool/a\n")

	b.want("apply -f -", everyTierAndPolicy, "Tier ops created\nGlobalNetworkPolicy ops.deny created\n")
	policy, err := datastore.Get[*v3.GlobalNetworkPolicy](b.t.Context(), b.store, datastore.GlobalNetworkPolicies,
		datastore.Key{Name: "ops.deny"})
	if err != nil || policy.Labels[v3.TierLabel] != "ops" || len(policy.Spec.Types) != 1 ||
		policy.Labels["mine"] != "1" {
		b.t.Errorf("policy %+v, %v", policy, err)
	}
	b.want("apply -f -", strings.ReplaceAll(everyTierAndPolicy, ", labels: {mine: '1'}", ""),
		"Tier ops unchanged\nGlobalNetworkPolicy ops.deny unchanged\n")
	b.refused("delete tier ops", "", "Tier ops", "cannot be deleted while it has policies",
		"GlobalNetworkPolicy ops.deny")
	b.want("delete -f -", everyTierAndPolicy[strings.Index(everyTierAndPolicy, "---"):],
		"GlobalNetworkPolicy ops.deny deleted\n")
	b.want("delete tier ops", "", "Tier ops deleted\n")
	b.want("get tiers -o name", "", "tier/kube-admin\ntier/default\ntier/kube-baseline\n")
	b.refused("delete tier default", "", "Tier default", "always exists")
}

const everyTierAndPolicy = `
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: ops}
spec: {order: 5}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: ops.deny, labels: {mine: '1'}}
spec: {tier: ops, selector: all(), ingress: [{action: Deny}]}
`

// Endpoints, nodes and profiles are resources like others there.
func (b *bench) writesWhatKubernetesHas() {
	b.t.Helper()
	b.want("apply -f -", `
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: host1}, spec: {bgp: {ipv4Address: 192.0.2.1/24}}}
---
{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: web}, spec: {ingress: [{action: Allow}], labelsToApply: {a: b}}}
---
{apiVersion: projectcalico.org/v3, kind: WorkloadEndpoint, metadata: {name: host1-cni-web-eth0, namespace: default},
 spec: {node: host1, orchestrator: cni, workload: web, endpoint: eth0, interfaceName: cali1, ipNetworks: [10.0.0.1/32], profiles: [web]}}
`, "Node host1 created\nProfile web created\nWorkloadEndpoint default/host1-cni-web-eth0 created\n")
	b.want("get wep", "", "WORKLOAD   NODE    NETWORKS      INTERFACE\nweb        host1   10.0.0.1/32   cali1\n")
	b.want("delete node host1", "", "Node host1 deleted\n")
}
