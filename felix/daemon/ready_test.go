package daemon

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// TestDatastoreNotReady: while the ClusterInformation says datastoreReady: false, the node keeps what it has, also
// through a restart of Felix, refuses an ADD, and says why; a policy of that time is applied when it is true again.
func TestDatastoreNotReady(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	pods := []*pod{n1.addPod(t, "a"), n1.addPod(t, "b")}
	awaitMatrix(t, pods, anyPair)
	no := false
	l.create(t, datastore.ClusterInformations, &v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v3.ClusterInformationSpec{DatastoreReady: &no}})
	told := func(want bool) {
		t.Helper()
		eventually(t, func() error {
			status, err := n1.agent.Status(t.Context())
			if err != nil {
				return err
			}
			for what, text := range map[string]string{"the notices": strings.Join(status.Notices, "; "),
				"the answer to an ADD": fmt.Sprint(n1.agent.CNIState().Refused)} {
				if strings.Contains(text, "datastoreReady: false") != want {
					return fmt.Errorf("%s: %s", what, text)
				}
			}
			return nil
		})
	}
	told(true)
	l.create(t, datastore.GlobalNetworkPolicies, &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "closed"},
		Spec: v3.GlobalNetworkPolicySpec{Selector: "app == 'a'", Types: []v3.PolicyType{v3.PolicyTypeIngress}}})
	open := func() {
		t.Helper()
		for range 50 {
			checkMatrix(t, pods, anyPair)
		}
	}
	open()
	n1.stop()
	n1.start(t)
	told(true)
	open()

	yes := true
	_, err := datastore.Modify(t.Context(), l.store, datastore.ClusterInformations, datastore.Key{Name: "default"},
		func(o *v3.ClusterInformation) error { o.Spec.DatastoreReady = &yes; return nil })
	if err != nil {
		t.Fatal(err)
	}
	told(false)
	awaitMatrix(t, pods, func(_, to string) bool { return to != "a" })
	pods = append(pods, n1.addPod(t, "c"))
	awaitMatrix(t, pods, func(_, to string) bool { return to != "a" })
}
