package etcd_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// TestLayout looks at what is stored with etcd's own client.
func TestLayout(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	s := open(t, server.Config)
	ctx := bounded(t)
	for kind, object := range map[datastore.Kind]datastore.Object{
		datastore.IPPools:     pool("p"),
		datastore.CalicoNodes: &v3.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}},
		datastore.Profiles:    &v3.Profile{ObjectMeta: metav1.ObjectMeta{Name: "kns.shop"}},
		datastore.WorkloadEndpoints: &v3.WorkloadEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop",
			Name: "n1-k8s-web-eth0"}},
		datastore.IPAMBlocks: &v3.IPAMBlock{ObjectMeta: metav1.ObjectMeta{Name: "10-0-0-0-26"}},
	} {
		if _, err := s.Create(ctx, kind, object); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := server.Admin().Get(ctx, "/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, kv := range stored.Kvs {
		got[strings.TrimPrefix(string(kv.Key), "/calico/resources/v3/projectcalico.org/")] = string(kv.Value)
	}
	for _, key := range []string{"ippools/p", "nodes/n1", "profiles/kns.shop", "workloadendpoints/shop/n1-k8s-web-eth0",
		"ipamblocks/10-0-0-0-26"} {
		if got[key] == "" {
			t.Errorf("nothing is stored under %s, only %v", key, got)
		}
	}
	var value struct {
		Kind, APIVersion string
		Metadata         map[string]any
		Spec             struct{ CIDR string }
	}
	if err := json.Unmarshal([]byte(got["ippools/p"]), &value); err != nil {
		t.Fatal(err)
	}
	if value.Kind != "IPPool" || value.APIVersion != "projectcalico.org/v3" || value.Spec.CIDR != "10.0.0.0/16" ||
		value.Metadata["name"] != "p" || value.Metadata["uid"] == nil || value.Metadata["creationTimestamp"] == nil ||
		value.Metadata["resourceVersion"] != nil {
		t.Errorf("stored: %s", got["ippools/p"])
	}
}

// TestReadsWhatCalicoWrote: the values are in the form in which Calico's own client stores them.
func TestReadsWhatCalicoWrote(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	s := open(t, server.Config)
	ctx := bounded(t)
	const folder = "/calico/resources/v3/projectcalico.org/"
	put(t, server, folder+"workloadendpoints/shop/n1-k8s-web-eth0",
		`{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{"name":"n1-k8s-web-eth0","namespace":"shop","uid":"4a6ab4f5-4e1c-11e9-8c2b-02420a000001","creationTimestamp":"2019-03-24T10:00:00Z","labels":{"app":"web"}},"spec":{"orchestrator":"k8s","workload":"","node":"n1","pod":"web","endpoint":"eth0","ipNetworks":["10.0.0.5/32"],"profiles":["kns.shop"],"interfaceName":"cali0123"}}`)
	put(t, server, folder+"workloadendpoints/shop", `{}`) // nobody's key
	put(t, server, folder+"workloadendpointsmore/a/b", `{}`)
	put(t, server, "/calico/ipam/v2/config", `{"strict_affinity":false}`)
	list, err := s.List(ctx, datastore.WorkloadEndpoints, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || len(list.Unusable) != 1 {
		t.Fatalf("list gives %+v", list)
	}
	e := list.Items[0].(*v3.WorkloadEndpoint)
	if diff := cmp.Diff([]string{"10.0.0.5/32"}, e.Spec.IPNetworks); diff != "" || e.Labels["app"] != "web" ||
		e.UID != "4a6ab4f5-4e1c-11e9-8c2b-02420a000001" {
		t.Errorf("read %+v", e)
	}
	e.Spec.Ports = []v3.WorkloadEndpointPort{{Name: "http", Port: 80}}
	changed, err := s.Update(ctx, datastore.WorkloadEndpoints, e)
	if err != nil || changed.GetUID() != e.UID || !changed.GetCreationTimestamp().Time.Equal(e.CreationTimestamp.Time) {
		t.Errorf("update gives %+v, %v", changed, err)
	}
}

// TestForeignKeys: names that would leave their folder are not names.
func TestForeignKeys(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	s := open(t, server.Config)
	ctx := bounded(t)
	put(t, server, "/calico/resources/v3/projectcalico.org/ippools/a/b", `{}`)
	list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil || len(list.Items) != 0 || len(list.Unusable) != 1 {
		t.Errorf("list gives %+v, %v", list, err)
	}
	if _, err := s.Create(ctx, datastore.IPPools, pool("../nodes/n1")); err == nil ||
		!strings.Contains(err.Error(), "must not contain /") {
		t.Errorf("create gives %v", err)
	}
	if _, err := s.Get(ctx, datastore.IPPools, datastore.Key{Name: "a/b"}); err == nil {
		t.Error("a key that no pool can have is got")
	}
}

// TestTransactionOfAnother: a reader that stops within a transaction gets the rest when it starts again.
func TestTransactionOfAnother(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	s := open(t, server.Config)
	ctx := bounded(t)
	list, err := s.List(ctx, datastore.IPPools, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const folder = "/calico/resources/v3/projectcalico.org/ippools/"
	if _, err := server.Admin().Txn(ctx).Then(clientv3.OpPut(folder+"a", `{}`),
		clientv3.OpPut(folder+"b", `{}`)).Commit(); err != nil {
		t.Fatal(err)
	}
	seen, revision := map[string]bool{}, list.Revision
	for range 2 {
		w, err := s.Watch(ctx, datastore.IPPools, revision, datastore.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range len(seen) + 1 {
			e, err := w.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			seen[e.Object.GetName()], revision = true, e.Revision
		}
		w.Stop()
	}
	if !seen["a"] || !seen["b"] {
		t.Errorf("seen are %v", seen)
	}
	if _, err := s.Watch(ctx, datastore.IPPools, "1000000", datastore.ListOptions{}); err == nil ||
		!strings.Contains(err.Error(), "future revision") {
		t.Errorf("a watch from the future gives %v", err)
	}
}
