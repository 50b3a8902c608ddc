package chart

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/ipam"
	controllersdaemon "github.com/maneki-net/maneki/kube-controllers/daemon"
	"github.com/maneki-net/maneki/kube-controllers/status"
	"github.com/maneki-net/maneki/test/process"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/discovery"
	"github.com/maneki-net/maneki/typha/hub"
	typhasync "github.com/maneki-net/maneki/typha/sync"
	"github.com/maneki-net/maneki/typha/wire"
)

// TestEveryRightOfKubeControllersIsNeeded: likewise for kube-controllers, first as it runs without Typha, then with it.
// The second time only what is there for Typha runs: what the rest has asked for is repeated from the first time.
func TestEveryRightOfKubeControllersIsNeeded(t *testing.T) {
	const without = "typha.enabled=false"
	in := install(t, []string{"n1"}, without)
	r := record(t, in.server.Config, in.stolen(t, "calico-kube-controllers", ""))
	meta := metav1.ObjectMeta{Name: "calico-kube-controllers"}
	cluster := &rbacv1.ClusterRole{ObjectMeta: meta}
	meta.Namespace = namespace
	own := &rbacv1.Role{ObjectMeta: meta}

	t.Run("without Typha", func(t *testing.T) {
		objects := render(t, without)
		in.installControllers(t, objects)
		webhook, stop := runControllers(t, r, objects)
		in.changeResources(t, r)
		in.giveAddresses(t, r)
		in.writeWithoutEffect(t, r)
		in.askAdmission(t, r, webhook)
		in.list(t, r)
		r.await(t, "POST .*/leases", "PUT .*/leases/", "POST .*/events",
			"PUT .*/secrets/maneki-ca", "PUT .*/secrets/maneki-webhook-tls")
		stop()
		in.removeEach(t, r, cluster, &cluster.Rules)
		in.removeEach(t, r, own, &own.Rules)
	})
	t.Run("with Typha", func(t *testing.T) {
		objects := render(t)
		in.installControllers(t, objects)
		in.offerPolicies(t, r)
		_, stop := runControllers(t, r, objects, "--enabled-controllers=typhascale,status")
		in.reportStatus(t, r)
		r.awaitWatches(t, []string{"endpointslices", "clusternetworkpolicies"})
		r.await(t, "PUT .*/scale", "PUT .*/secrets/calico-typha-tls", "PUT .*/secrets/calico-node-tls")
		stop()
		in.removeEach(t, r, cluster, &cluster.Rules)
		in.removeEach(t, r, own, &own.Rules)
	})
}

// installControllers gives the API server what kube-controllers works on besides what install gives it, and its roles.
func (in *installed) installControllers(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		var err error
		switch o.GetKind() {
		case "BGPConfiguration", "FelixConfiguration", "Secret", "Deployment", "ValidatingWebhookConfiguration",
			"MutatingWebhookConfiguration":
			err = client.IgnoreAlreadyExists(in.Create(t.Context(), o))
		case "ClusterRole", "Role":
			if o.GetName() == "calico-kube-controllers" {
				err = in.Update(t.Context(), o)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// runControllers runs the program as the chart does, until stop is called. It gives where admission is served.
func runControllers(t *testing.T, r *recorder, objects []*unstructured.Unstructured, flags ...string) (
	webhook string, stop func()) {
	t.Helper()
	ports, err := process.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	environ := environment(t, workloads(t, objects), "Deployment calico-kube-controllers")
	flags = append(flags, "--pod-namespace="+namespace, "--own-certificate-dir="+t.TempDir(),
		"--leak-grace-period=1s", "--node-grace-period=1s",
		fmt.Sprint("--webhook-port=", ports[0]), fmt.Sprint("--metrics-address=127.0.0.1:", ports[1]))
	settings, err := controllersdaemon.ParseConfig(environ, flags)
	if err != nil {
		t.Fatal(err)
	}
	stop = inBackground(t, func(ctx context.Context) error {
		err := controllersdaemon.Run(ctx, r.client, settings, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("kube-controllers ended: %v", err)
		}
		return err
	})
	return fmt.Sprintf("https://127.0.0.1:%d/validate", ports[0]), stop
}

// changeResources gives the controllers of resources something to write.
func (in *installed) changeResources(t *testing.T, r *recorder) {
	t.Helper()
	r.await(t, "POST .*/clusterinformations", "POST .*/tiers", "PUT .*/tiers/default/status")
	info := &v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	in.change(t, info, func() { info.Spec.CalicoVersion = "v0" })
	meta := metav1.ObjectMeta{Name: "default"}
	r.await(t, "POST .*/kubecontrollersconfigurations", "PUT .*/kubecontrollersconfigurations/default/status")
	for _, o := range []client.Object{&v3.FelixConfiguration{ObjectMeta: meta},
		&v3.BGPConfiguration{ObjectMeta: meta}} {
		if err := in.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	r.await(t, "POST .*/felixconfigurations", "POST .*/bgpconfigurations")
	settings := &v3.KubeControllersConfiguration{ObjectMeta: meta}
	in.change(t, settings, func() {
		settings.Spec.Controllers.Node.HostEndpoint = &v3.AutoHostEndpointConfig{AutoCreate: "Enabled"}
	})
	in.create(t, &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}})
	r.await(t, "PUT .*/clusterinformations/", "PUT .*/ippools/p/status", "PATCH .*/ippools/p", "POST .*/hostendpoints")
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	in.change(t, n, func() { n.Labels["zone"] = "b" })
	r.await(t, "PUT .*/hostendpoints/n1")
	if err := in.Delete(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	r.await(t, "DELETE .*/hostendpoints/n1")
}

// giveAddresses assigns addresses to a pod that is not there, and to a node that is not.
func (in *installed) giveAddresses(t *testing.T, r *recorder) {
	t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if err := in.Get(t.Context(), client.ObjectKeyFromObject(n), n); err != nil {
		t.Fatal(err)
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if err := in.Status().Update(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	pools := []ipam.Pool{{Name: "p", CIDR: netip.MustParsePrefix("10.0.0.0/16")}}
	cooldown := int32(1)
	in.create(t, &v3.IPAMConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v3.IPAMConfigurationSpec{IPCooldownSeconds: &cooldown}})
	for _, node := range []string{"n1", "gone"} {
		request := ipam.Request{Handle: node, Families: []ipam.Family{ipam.IPv4},
			Attributes: map[string]string{ipam.AttrNamespace: "shop", ipam.AttrPod: "gone", ipam.AttrUID: "u"}}
		addresses := ipam.New(storeOf(t, in.server.Config))
		if r := addresses.Assign(t.Context(), ipam.Host{Name: node}, pools, []ipam.Request{request})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	r.await(t, "GET .*/nodes/n1", "GET .*/pods/gone", `GET .*/pods\?fieldSelector`,
		"PUT .*/ipamblocks/", "DELETE .*/ipamblocks/", "DELETE .*/blockaffinities/")
}

// askAdmission asks whether tiers may go: one that has just been made, and one that is not there.
func (in *installed) askAdmission(t *testing.T, r *recorder, webhook string) {
	t.Helper()
	r.await(t, "PATCH .*/validatingwebhook", "PATCH .*/mutatingwebhook")
	ops := &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: "ops"}}
	in.create(t, ops)
	kind := datastore.Tiers.GroupVersionKind
	asking := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, tier := range []*v3.Tier{ops, {ObjectMeta: metav1.ObjectMeta{Name: "none", UID: "u"}}} {
		old, err := json.Marshal(tier)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
			Request: &admissionv1.AdmissionRequest{UID: "u", Operation: admissionv1.Delete, Name: tier.Name,
				Kind:      metav1.GroupVersionKind{Group: kind.Group, Version: kind.Version, Kind: kind.Kind},
				OldObject: runtime.RawExtension{Raw: old}}})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := asking.Post(webhook, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	r.await(t, "GET .*/tiers/none", "GET .*/networkpolicies.*spec.tier", "GET .*/globalnetworkpolicies.*spec.tier",
		"GET .*/stagednetworkpolicies.*spec.tier", "GET .*/stagedglobalnetworkpolicies.*spec.tier")
}

// writeWithoutEffect writes what has no effect, takes it back and writes it again: its event is there, and is counted.
func (in *installed) writeWithoutEffect(t *testing.T, r *recorder) {
	t.Helper()
	settings := &v3.FelixConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "node.n1"}}
	settings.Spec.ChainInsertMode = new("Append")
	in.create(t, settings)
	r.await(t, "POST .*/namespaces/default/events.*NoEffect")
	in.change(t, settings, func() { settings.Spec.ChainInsertMode = nil })
	r.await(t, "POST .*/namespaces/default/events.*Effective")
	in.change(t, settings, func() { settings.Spec.ChainInsertMode = new("Append") })
	r.await(t, "PATCH .*/namespaces/default/events/")
}

// list lists what controllers have informers of metadata for. They list where an API server does not begin a watch with
// what there is: that of the test does, and that of Kubernetes 1.33 does not.
func (in *installed) list(t *testing.T, r *recorder) {
	t.Helper()
	for _, list := range []client.ObjectList{&corev1.NodeList{}, &corev1.NamespaceList{}, &corev1.ServiceList{},
		&v3.KubeControllersConfigurationList{}, &v3.FelixConfigurationList{}, &v3.BGPConfigurationList{}} {
		if err := in.client(t, r.client).List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
}

// offerPolicies reads ClusterNetworkPolicies without their CRD, as kube-controllers/status does until it finds it, and
// then offers them. It also gives Typha another number of replicas than it should have.
func (in *installed) offerPolicies(t *testing.T, r *recorder) {
	t.Helper()
	_, err := storeOf(t, r.client).List(t.Context(), datastore.ClusterNetworkPolicies, datastore.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	in.server.OfferClusterNetworkPolicies(t)
	served := func(ctx context.Context) (bool, error) {
		_, err := storeOf(t, in.server.Config).List(ctx, datastore.ClusterNetworkPolicies, datastore.ListOptions{})
		return err == nil, nil
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, within, true, served); err != nil {
		t.Fatalf("ClusterNetworkPolicies are not served: %v", err)
	}
	in.server.Create(t, "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
		`{"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "c"}}`)
	typha := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "calico-typha"}}
	in.change(t, typha, func() { typha.Spec.Replicas = new(int32(9)) })
}

// reportStatus runs what writes into the API what Typha says, and says what that may be of each kind. No Typha runs:
// API servers refuse endpoints on loopback.
func (in *installed) reportStatus(t *testing.T, r *recorder) {
	t.Helper()
	in.create(t, &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}})
	in.create(t, &v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: v3.CalicoNodeStatusSpec{Node: "n1", Classes: []v3.NodeStatusClassType{v3.NodeStatusClassTypeBGP}}})
	status, err := wire.PackStatus([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan hub.Observed)
	inBackground(t, reporting(t, r.client, said).Start)
	say := func(o hub.Observed) {
		select {
		case said <- o:
		case <-t.Context().Done():
		}
	}
	say(hub.Observed{Whole: true, Nodes: []hub.NodeStatus{{Node: "n1", Applied: 1}},
		Answers: []hub.NodeAnswer{{Node: "n1", Said: time.Now(), StatusAnswer: wire.StatusAnswer{Status: status}}}})
	var all hub.Observed
	var wanted []string
	for _, kind := range typhasync.KubernetesKinds() {
		switch kind.ID() {
		case calc.KindNamespace, calc.KindServiceAccount: // Typha can use any
		case calc.KindIPPool, calc.KindTier: // they have controllers of their own
		default:
			problem := calc.Problem{Kind: kind.ID(), Name: "p", Reason: "is wrong"}
			if kind.Namespaced {
				problem.Namespace = "shop"
			}
			all.Problems = append(all.Problems, problem)
			wanted = append(wanted, "GET .*/"+kind.Plural+"/")
		}
	}
	say(all)
	r.await(t, append(wanted, "POST .*/namespaces/default/events.*is wrong")...)
	mended := hub.Observed{Problems: slices.Clone(all.Problems)}
	for i := range mended.Problems {
		mended.Problems[i].Reason = ""
	}
	say(mended)
	r.await(t, "POST .*/namespaces/default/events.*can be used again")
	say(all) // its event is there, and is counted
	r.await(t, "PATCH .*/namespaces/default/events/", "PATCH .*/nodes/n1/status",
		"PATCH .*/clusternetworkpolicies/c/status", "PATCH .*/caliconodestatuses/p/status")
}

// reporting makes the controllers of kube-controllers/status, which follow one replica that says what it is told to.
func reporting(t *testing.T, config *rest.Config, said <-chan hub.Observed) ctrl.Manager {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v3.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: skipNames})
	if err != nil {
		t.Fatal(err)
	}
	observe := func(ctx context.Context, _ string, each func(hub.Observed)) error {
		for {
			select {
			case o := <-said:
				each(o)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	err = status.Add(mgr, status.Options{Replicas: oneReplica{}, Observe: observe, Store: storeOf(t, config),
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

// skipNames lets a process have two controllers of one name.
var skipNames = config.Controller{SkipNameValidation: new(true)}

// oneReplica is a Typha that stays.
type oneReplica struct{}

// Run implements status.Replicas.
func (oneReplica) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Endpoints implements status.Replicas.
func (oneReplica) Endpoints() ([]discovery.Endpoint, bool) {
	return []discovery.Endpoint{{Pod: "typha", Address: "typha"}}, true
}

// Changed implements status.Replicas.
func (oneReplica) Changed() <-chan struct{} { return nil }
