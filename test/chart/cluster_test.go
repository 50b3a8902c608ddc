package chart

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/test/apiserver"
)

// within bounds every wait; a machine under load needs most of it.
const within = time.Minute

// installed is an API server that has the chart's roles and admission policies, and nodes with a pod of calico-node
// each.
type installed struct {
	client.Client // an administrator's
	server        *apiserver.Server
}

// install starts an API server and gives it what the chart renders of rights and admission.
func install(t *testing.T, nodes []string, set ...string) *installed {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: starts an API server")
	}
	in := &installed{server: apiserver.Start(t)}
	in.Client = in.client(t, in.server.Config)
	in.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	for _, o := range render(t, set...) {
		switch o.GetKind() {
		case "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
			"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
			in.create(t, o)
		}
	}
	for i, name := range nodes {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": "a"}}}
		in.create(t, node)
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address(i)},
			{Type: corev1.NodeInternalIP, Address: "2001:db8:0::" + fmt.Sprint(i+1)}}
		if err := in.Status().Update(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		in.create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "calico-node-" + name},
			Spec: corev1.PodSpec{NodeName: name, ServiceAccountName: "calico-node",
				Containers: []corev1.Container{{Name: "calico-node", Image: "x"}}}})
	}
	return in
}

// address gives the InternalIP of the i-th node.
func address(i int) string { return fmt.Sprintf("172.30.0.%d", i+1) }

func (in *installed) client(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v3.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (in *installed) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := in.Create(t.Context(), o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// stolen gives the configuration of a client with a token of a service account, bound to a pod if one is named.
func (in *installed) stolen(t *testing.T, account, pod string) *rest.Config {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if pod != "" {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod}
	}
	of := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := in.SubResource("token").Create(t.Context(), of, request); err != nil {
		t.Fatalf("take a token of %s: %v", account, err)
	}
	config := rest.AnonymousClientConfig(in.server.Config)
	config.BearerToken, config.QPS = request.Status.Token, -1
	return config
}

// nodeToken gives the configuration of a client with the token of calico-node on a node.
func (in *installed) nodeToken(t *testing.T, node string) *rest.Config {
	return in.stolen(t, "calico-node", "calico-node-"+node)
}

// enforced waits until the admission policies are: the API server learns of them by a watch.
func (in *installed) enforced(t *testing.T, refused func(context.Context) error) {
	t.Helper()
	last := errors.New("never looked")
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, within, true,
		func(ctx context.Context) (bool, error) {
			last = refused(ctx)
			return last != nil && strings.Contains(last.Error(), "ValidatingAdmissionPolicy"), nil
		})
	if err != nil {
		t.Fatalf("the admission policies are not enforced: %v", last)
	}
}

// attempt is a write that is tried.
type attempt struct {
	what string
	do   func(context.Context, client.Client) error
	// refusal is a part of the message by which it is refused; empty: it is allowed.
	refusal string
}

// judge tries every attempt, and writes down what came of it.
func judge(t *testing.T, as client.Client, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		err := a.do(t.Context(), as)
		outcome := "allowed"
		if err != nil {
			outcome = "refused: " + err.Error()
		}
		t.Logf("%-70s %s", a.what, outcome)
		switch {
		case a.refusal == "" && err != nil:
			t.Errorf("%s: %v, want it allowed", a.what, err)
		case a.refusal != "" && (err == nil || !strings.Contains(err.Error(), a.refusal)):
			t.Errorf("%s: %v, want a refusal that says %q", a.what, err, a.refusal)
		}
	}
}

// updated gives the attempt to change an object, which the API server judges and does not keep.
func updated[T client.Object](what string, object T, change func(T), refusal string) attempt {
	changed := object.DeepCopyObject().(T)
	change(changed)
	return attempt{what, func(ctx context.Context, as client.Client) error {
		return as.Update(ctx, changed.DeepCopyObject().(client.Object), client.DryRunAll)
	}, refusal}
}

func created(what string, object client.Object, refusal string) attempt {
	return attempt{what, func(ctx context.Context, as client.Client) error {
		return as.Create(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll)
	}, refusal}
}

func deleted(what string, object client.Object, refusal string) attempt {
	return attempt{what, func(ctx context.Context, as client.Client) error {
		return as.Delete(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll)
	}, refusal}
}

// patched gives the attempt of a JSON merge patch.
func patched(what string, object client.Object, patch, refusal string) attempt {
	return attempt{what, func(ctx context.Context, as client.Client) error {
		return as.Patch(ctx, object.DeepCopyObject().(client.Object),
			client.RawPatch("application/merge-patch+json", []byte(patch)), client.DryRunAll)
	}, refusal}
}
