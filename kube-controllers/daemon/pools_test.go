package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maneki-net/maneki/api/encap"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/ipam"
)

// deletedPools: a pool whose addresses pods have stays until they are released, and says so. The address of a tunnel
// keeps no pool. A pool that nobody uses goes at once.
func (w *world) deletedPools(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "keeper"},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady,
			Status: corev1.ConditionTrue}}}}
	user := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "user"},
		Spec: corev1.PodSpec{NodeName: "keeper", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	w.create(t, node, user, pool("used", "10.60.0.0/24"), pool("tunnels", "10.61.0.0/24"),
		pool("unused", "10.62.0.0/24"))
	w.held(t, "first", "used", "tunnels", "unused")
	store, err := kubernetes.New(w.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	assigner, host := ipam.New(store), ipam.Host{Name: "keeper"}
	used := ipam.Pool{Name: "used", CIDR: netip.MustParsePrefix("10.60.0.0/24")}
	request := ipam.Request{Handle: "user", Families: []ipam.Family{ipam.IPv4},
		Attributes: map[string]string{ipam.AttrNamespace: "default", ipam.AttrPod: "user",
			ipam.AttrUID: string(user.UID)}}
	result := assigner.Assign(t.Context(), host, []ipam.Pool{used}, []ipam.Request{request})[0]
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	for _, p := range []ipam.Pool{used, {Name: "tunnels", CIDR: netip.MustParsePrefix("10.61.0.0/24")}} {
		host.Name = "tunnel-of-" + p.Name
		w.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: host.Name}})
		if _, err := assigner.EnsureTunnelAddress(t.Context(), host, []ipam.Pool{p}, encap.VXLAN,
			ipam.IPv4); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"used", "tunnels", "unused"} {
		if err := w.client.Delete(t.Context(), pool(name, "")); err != nil {
			t.Fatal(err)
		}
	}
	w.waitsFor(t, "used", fmt.Sprintf("in use: 1 (%s of pod default/user)", result.Leases[0].Addr))
	w.gone(t, "tunnels")
	w.gone(t, "unused")
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: "used"}, &v3.IPPool{}); err != nil {
		t.Errorf("the pool is in use: %v", err)
	}
	if _, err := assigner.Release(t.Context(), "keeper", "user"); err != nil {
		t.Fatal(err)
	}
	w.gone(t, "used")
	w.remove(t, user, node)
}

// held waits until pools have the finalizer.
func (w *world) held(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		eventually(t, "finalizer of "+name, func() error {
			p := &v3.IPPool{}
			if err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
				return err
			}
			if !slices.Contains(p.Finalizers, "projectcalico.org/ippool-finalizer") {
				return fmt.Errorf("finalizers %q", p.Finalizers)
			}
			return nil
		})
	}
}

// waitsFor waits until the condition of a pool that is being deleted says what is wanted.
func (w *world) waitsFor(t *testing.T, name, wanted string) {
	t.Helper()
	eventually(t, "what "+name+" waits for", func() error {
		p := &v3.IPPool{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, "Allocatable")
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "Terminating" ||
			!strings.Contains(c.Message, wanted) {
			return fmt.Errorf("condition %+v, want one that says %q", c, wanted)
		}
		return nil
	})
}

// gone waits until a pool is gone.
func (w *world) gone(t *testing.T, name string) {
	t.Helper()
	eventually(t, "the end of "+name, func() error {
		err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, &v3.IPPool{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
}

func (w *world) remove(t *testing.T, objects ...client.Object) {
	t.Helper()
	var errs []error
	for _, o := range objects {
		errs = append(errs, w.client.Delete(t.Context(), o, client.GracePeriodSeconds(0)))
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
