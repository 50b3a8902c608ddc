package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
	"github.com/maneki-net/maneki/kube-controllers/certificates"
	"github.com/maneki-net/maneki/kube-controllers/status"
	"github.com/maneki-net/maneki/test/apiserver"
	"github.com/maneki-net/maneki/test/chart"
	"github.com/maneki-net/maneki/test/process"
)

// within bounds every wait; a machine under load needs most of it.
const within = time.Minute

// eventually waits until check gives nil, and fails with its last error.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	last := errors.New("never looked")
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, within, true,
		func(context.Context) (bool, error) {
			last = check()
			return last == nil, nil
		})
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

// namespace is where the chart is installed.
const namespace = "calico-system"

// world is a running program, installed by the chart with the rights of its account, and the API server that it works
// on.
type world struct {
	client  client.Client // an administrator's
	own     *rest.Config  // with a token of the program's account
	server  *apiserver.Server
	config  Config
	metrics string
}

func start(t testing.TB) *world {
	t.Helper()
	server := apiserver.Start(t)
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v3.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{client: c, server: server, config: Defaults()}
	w.config.PodNamespace = namespace
	w.config.WebhookPort = freePort(t)
	w.config.MetricsAddress = fmt.Sprint("127.0.0.1:", freePort(t))
	w.config.LeakGracePeriod, w.config.NodeGracePeriod = time.Second, time.Second
	w.config.give("LEAK_GRACE_PERIOD", "1s")
	w.config.Level = &slog.LevelVar{}
	w.config.TyphaDeployment = "calico-typha"
	w.config.TyphaSecret, w.config.NodeSecret, w.config.OwnCertificateDir = "calico-typha-tls", "calico-node-tls",
		t.TempDir()
	w.metrics = "http://" + w.config.MetricsAddress
	w.install(t)
	w.own = w.token(t, "calico-kube-controllers")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	go func() { ended <- Run(ctx, w.own, w.config, log) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the program ended with %v", err)
		}
	})
	return w
}

// install makes what the chart makes, but for the pools.
func (w *world) install(t testing.TB) {
	t.Helper()
	w.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	for _, o := range chart.Render(t, namespace, "ipPools=null") {
		if o.GetKind() == "Service" && o.GetName() == w.config.WebhookService {
			// There is no kube-proxy: the API server goes to localhost for the Service.
			unstructured.RemoveNestedField(o.Object, "spec")
			o.Object["spec"] = map[string]any{"type": "ExternalName", "externalName": "localhost"}
		}
		if o.GetAnnotations()["helm.sh/hook"] == "" {
			w.create(t, o)
		}
	}
}

// token gives the configuration of a client that has a token of a service account, and nothing else.
func (w *world) token(t testing.TB, account string) *rest.Config {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	object := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := w.client.SubResource("token").Create(t.Context(), object, request); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(w.server.Config)
	config.BearerToken = request.Status.Token
	return config
}

func (w *world) create(t testing.TB, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := w.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) get(t testing.TB, path string) (int, string) {
	response, err := http.Get(w.metrics + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// TestProgram runs the whole program against a real API server.
func TestProgram(t *testing.T) {
	w := start(t)
	eventually(t, "ready", func() error {
		if code, body := w.get(t, "/readyz"); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	t.Run("certificates", w.certificates)
	t.Run("cluster information", w.clusterInformation)
	t.Run("default configurations", w.defaultConfigurations)
	t.Run("configuration", w.configuration)
	t.Run("admission", w.admission)
	t.Run("pool status", w.poolStatus)
	t.Run("defaults of policies", w.policyDefaults)
	t.Run("plain policies", w.plainPolicies)
	t.Run("what has no effect", w.withoutEffect)
	t.Run("largest plain policy", w.largestPlain)
	t.Run("nearly plain policies", w.nearlyPlain)
	t.Run("small policies of Kubernetes", w.smallPolicies)
	t.Run("large policies of Kubernetes", w.largePolicies)
	t.Run("random policies of Kubernetes", w.randomPolicies)
	t.Run("tiers", w.tiers)
	t.Run("verdicts", w.verdicts)
	t.Run("same verdict of all", w.sameOfAll)
	t.Run("emptied selectors", w.emptied)
	t.Run("changes", w.changes)
	t.Run("host endpoints", w.hostEndpoints)
	t.Run("addresses", w.addresses)
	t.Run("deleted pools", w.deletedPools)
	t.Run("replicas of Typha", w.typhaScale)
	t.Run("what has no effect", w.effects)
	t.Run("metrics", func(t *testing.T) {
		w.create(t, &v3.IPReservation{ObjectMeta: metav1.ObjectMeta{Name: "router"},
			Spec: v3.IPReservationSpec{ReservedCIDRs: []string{"10.0.9.0/30", "10.0.9.1/32", "192.0.2.0/24"}}})
		eventually(t, "the addresses that are reserved", func() error {
			if _, body := w.get(t, "/metrics"); !strings.Contains(body, `ipam_ippool_reserved{ippool="first"} 4`) {
				return fmt.Errorf("no four addresses are counted as reserved:\n%s", body)
			}
			return nil
		})
		if _, body := w.get(t, "/metrics"); !strings.Contains(body, `ipam_ippool_size{ippool="first"} 65536`) ||
			!strings.Contains(body, "ipam_allocations_gc_reclamations") {
			t.Errorf("metrics lack ours:\n%s", body)
		}
		if code, body := w.get(t, "/healthz"); code != http.StatusOK {
			t.Errorf("healthz: %d %s", code, body)
		}
	})
	t.Run("stolen token", w.stolenToken)
	t.Run("two authorities", w.twoAuthorities)
	t.Run("unreadable pool", w.unreadable)
}

// unreadable: a pool that got in unjudged keeps no other out, and nothing else from what is made of the others.
func (w *world) unreadable(t *testing.T) {
	w.create(t, pool("spoilt", "10.77.0.0/16"))
	w.server.Overwrite(t, v3.GroupVersion.Group, "ippools", "spoilt",
		`{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "spoilt"}, "spec": 7}`)
	if err := w.client.Create(t.Context(), pool("beside", "10.78.0.0/16"), client.DryRunAll); err != nil {
		t.Errorf("a pool beside one that cannot be read: %v", err)
	}
	if err := w.client.Create(t.Context(), pool("overlapping", "10.0.1.0/24"), client.DryRunAll); err == nil ||
		!strings.Contains(err.Error(), "first") {
		t.Errorf("a pool that overlaps another: %v", err)
	}
	w.create(t, pool("after", "10.79.0.0/16"))
	eventually(t, "the condition of a pool made after it", func() error {
		after := &v3.IPPool{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: "after"}, after); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(after.Status.Conditions, "Allocatable") {
			return fmt.Errorf("conditions %+v", after.Status.Conditions)
		}
		return nil
	})
}

func (w *world) clusterInformation(t *testing.T) {
	eventually(t, "ClusterInformation", func() error {
		info := &v3.ClusterInformation{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: "default"}, info); err != nil {
			return err
		}
		if len(info.Spec.ClusterGUID) != 32 || info.Spec.DatastoreReady == nil || !*info.Spec.DatastoreReady {
			return fmt.Errorf("incomplete: %+v", info.Spec)
		}
		return nil
	})
}

func (w *world) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// certificates: the Secrets of the chart are filled. Then another authority is asked for, which twoAuthorities looks
// for.
func (w *world) certificates(t *testing.T) {
	eventually(t, "certificates", func() error {
		for _, name := range []string{"calico-typha-tls", "calico-node-tls", "maneki-webhook-tls", "maneki-ca"} {
			if data := w.secret(t, name).Data; len(data["tls.crt"]) == 0 || len(data["tls.key"]) == 0 ||
				len(data["ca.crt"]) == 0 {
				return fmt.Errorf("Secret %s has %d keys", name, len(data))
			}
		}
		own := filepath.Join(w.config.OwnCertificateDir, certificates.PairFile)
		_, err := tls.LoadX509KeyPair(own, own)
		return err
	})
	authority := w.secret(t, "maneki-ca")
	authority.Annotations = map[string]string{certificates.AnnotationRotate: "now"}
	if err := w.client.Update(t.Context(), authority); err != nil {
		t.Fatal(err)
	}
}

func (w *world) twoAuthorities(t *testing.T) {
	eventually(t, "two authorities", func() error {
		if trusted := bytes.Count(w.secret(t, "calico-node-tls").Data["ca.crt"],
			[]byte("BEGIN CERTIFICATE")); trusted != 2 {
			return fmt.Errorf("%d are trusted", trusted)
		}
		return nil
	})
	if annotations := w.secret(t, "maneki-ca").Annotations; annotations[certificates.AnnotationRotate] != "" {
		t.Errorf("annotations %v are left", annotations)
	}
}

func pool(name, cidr string) *v3.IPPool {
	return &v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.IPPoolSpec{CIDR: cidr}}
}

// reroute has the API server call the webhooks at the port where they are, since nothing forwards the Service's.
func (w *world) reroute(t testing.TB) {
	var validating registration.ValidatingWebhookConfiguration
	var mutating registration.MutatingWebhookConfiguration
	key := client.ObjectKey{Name: "maneki"}
	if err := errors.Join(w.client.Get(t.Context(), key, &validating),
		w.client.Get(t.Context(), key, &mutating)); err != nil {
		t.Fatal(err)
	}
	port := int32(w.config.WebhookPort)
	direct := func(c *registration.WebhookClientConfig) {
		if len(c.CABundle) == 0 {
			t.Errorf("ready, with a webhook that nobody trusts: %+v", c)
		}
		c.Service.Port = &port
	}
	patient := int32(30) // of those that a machine under load answers late, the API server would say nothing
	for i := range validating.Webhooks {
		direct(&validating.Webhooks[i].ClientConfig)
		validating.Webhooks[i].TimeoutSeconds = &patient
	}
	for i := range mutating.Webhooks {
		direct(&mutating.Webhooks[i].ClientConfig)
	}
	if err := errors.Join(w.client.Update(t.Context(), &validating),
		w.client.Update(t.Context(), &mutating)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) admission(t *testing.T) {
	w.reroute(t)
	w.create(t, pool("first", "10.0.0.0/16"))
	eventually(t, "refusal of a pool that overlaps", func() error {
		err := w.client.Create(t.Context(), pool("second", "10.0.128.0/20"), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "spec.cidr") {
			return fmt.Errorf("error %v, want one that names pool and field", err)
		}
		return nil
	})
	if err := w.client.Create(t.Context(), pool("apart", "10.1.0.0/16"), client.DryRunAll); err != nil {
		t.Errorf("a pool that overlaps none: %v", err)
	}
	first := &v3.IPPool{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: "first"}, first); err != nil {
		t.Fatal(err)
	}
	first.Spec.NATOutgoing = true
	if err := w.client.Update(t.Context(), first); err != nil {
		t.Errorf("a change of the pool itself: %v", err)
	}
}

func (w *world) poolStatus(t *testing.T) {
	eventually(t, "condition", func() error {
		first := &v3.IPPool{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: "first"}, first); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(first.Status.Conditions, "Allocatable") {
			return fmt.Errorf("conditions %+v", first.Status.Conditions)
		}
		return nil
	})
}

func (w *world) policyDefaults(t *testing.T) {
	eventually(t, "a policy with what it left out", func() error {
		p := &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
			Spec: v3.NetworkPolicySpec{Egress: []v3.Rule{{Action: v3.Allow}}}}
		if err := w.client.Create(t.Context(), p, client.DryRunAll); err != nil {
			return err
		}
		if len(p.Spec.Types) != 1 || p.Spec.Types[0] != v3.PolicyTypeEgress || p.Spec.Tier != "default" ||
			p.Labels["projectcalico.org/tier"] != "default" {
			return fmt.Errorf("got labels %v, spec %+v", p.Labels, p.Spec)
		}
		return nil
	})
}

// tiers: the built-in ones exist, come back, and can't be deleted; others can't while they have policies.
func (w *world) tiers(t *testing.T) {
	for _, name := range []string{"default", "kube-admin", "kube-baseline"} {
		eventually(t, "tier "+name, func() error {
			tier := &v3.Tier{}
			if err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, tier); err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(tier.Status.Conditions, "Ready") {
				return fmt.Errorf("conditions %+v", tier.Status.Conditions)
			}
			if err := w.client.Delete(t.Context(), tier); err == nil ||
				!strings.Contains(err.Error(), "tier "+name+" cannot be deleted: it always exists") {
				t.Errorf("deletion of tier %s: %v", name, err)
			}
			return nil
		})
	}
	ops := &v3.Tier{ObjectMeta: metav1.ObjectMeta{Name: "ops"}}
	policy := &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: v3.GlobalNetworkPolicySpec{Tier: "ops"}}
	w.create(t, ops, policy)
	if err := w.client.Delete(t.Context(), ops); err == nil || !strings.Contains(err.Error(), "GlobalNetworkPolicy p") {
		t.Errorf("deletion of a tier with a policy: %v", err)
	}
	if err := errors.Join(w.client.Delete(t.Context(), policy), w.client.Delete(t.Context(), ops)); err != nil {
		t.Errorf("deletion of an empty tier: %v", err)
	}
}

// hostEndpoints: a node gets one when the configuration asks for it, and loses it with the node.
func (w *world) hostEndpoints(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge", Labels: map[string]string{"rack": "a"},
		Annotations: map[string]string{
			v3.NodeIPv4Address: "192.0.2.7/24"}}}
	w.configure(t, `{"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}}`)
	w.create(t, node)
	key := client.ObjectKey{Name: "edge-auto-hep"}
	eventually(t, "host endpoint of the node", func() error {
		h := &v3.HostEndpoint{}
		if err := w.client.Get(t.Context(), key, h); err != nil {
			return err
		}
		if h.Labels["rack"] != "a" || len(h.Spec.ExpectedIPs) != 1 || h.Spec.ExpectedIPs[0] != "192.0.2.7" {
			return fmt.Errorf("labels %v, spec %+v", h.Labels, h.Spec)
		}
		return nil
	})
	if err := w.client.Delete(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its deletion", func() error {
		if err := w.client.Get(t.Context(), key, &v3.HostEndpoint{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there, or %v", err)
		}
		return nil
	})
}

// addresses assigns for a pod that exists and for one that does not, and then removes
// the node.
func (w *world) addresses(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady,
			Status: corev1.ConditionTrue}}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	w.create(t, node, account, pod)
	store, err := kubernetes.New(w.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	request := func(handle, name, uid string) ipam.Request {
		return ipam.Request{Handle: handle, Families: []ipam.Family{ipam.IPv4}, Attributes: map[string]string{
			ipam.AttrNamespace: "default", ipam.AttrPod: name, ipam.AttrUID: uid}}
	}
	pools := []ipam.Pool{{Name: "first", CIDR: netip.MustParsePrefix("10.0.0.0/16")}}
	for _, result := range ipam.New(store).Assign(t.Context(), ipam.Host{Name: "n1"}, pools, []ipam.Request{
		request("live", "web", string(pod.UID)), request("ghost", "gone", "u"), request("older", "web", "u")}) {
		if result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	silent := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady,
			Status: corev1.ConditionUnknown}}}}
	w.create(t, silent)
	forgotten := []ipam.Request{request("forgotten", "gone-too", "u")}
	if r := ipam.New(store).Assign(t.Context(), ipam.Host{Name: "n2"}, pools, forgotten)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := ipam.New(store).Assign(t.Context(), ipam.Host{Name: "n1"}, pools,
		[]ipam.Request{request("later", "gone", "u")})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	eventually(t, "release of leaked addresses", func() error { return w.handles(t, "forgotten live") })
	silent.Status.Conditions[0].Status = corev1.ConditionTrue
	if err := w.client.Status().Update(t.Context(), silent); err != nil {
		t.Fatal(err)
	}
	eventually(t, "release of what leaked on a node that is heard of again",
		func() error { return w.handles(t, "live") })
	if err := w.client.Delete(t.Context(), silent); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)),
		w.client.Delete(t.Context(), node)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "release of the node", func() error {
		var blocks v3.IPAMBlockList
		var affinities v3.BlockAffinityList
		if err := errors.Join(w.client.List(t.Context(), &blocks),
			w.client.List(t.Context(), &affinities)); err != nil {
			return err
		}
		if len(blocks.Items)+len(affinities.Items) > 0 {
			return fmt.Errorf("left are %d blocks, %d affinities", len(blocks.Items), len(affinities.Items))
		}
		return nil
	})
}

// typhaScale adds nodes after the Deployment was made.
func (w *world) typhaScale(t *testing.T) {
	for i := range 3 {
		w.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("linux-", i),
			Labels: map[string]string{corev1.LabelOSStable: "linux"}}})
	}
	typha := &appsv1.Deployment{}
	eventually(t, "two replicas for three nodes", func() error {
		if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "calico-typha"},
			typha); err != nil {
			return err
		}
		if *typha.Spec.Replicas != 2 {
			return fmt.Errorf("%d replicas", *typha.Spec.Replicas)
		}
		return nil
	})
}

// handles compares the handles that hold addresses.
func (w *world) handles(t *testing.T, want string) error {
	var blocks v3.IPAMBlockList
	if err := w.client.List(t.Context(), &blocks); err != nil {
		return err
	}
	var held []string
	for i := range blocks.Items {
		allocations, err := block.Allocations(&blocks.Items[i])
		if err != nil {
			return err
		}
		for _, a := range allocations {
			held = append(held, a.Handle)
		}
	}
	slices.Sort(held)
	if got := strings.Join(held, " "); got != want {
		return fmt.Errorf("held by %q, want %q", got, want)
	}
	return nil
}

// TestTrimNode: what the controllers read of a Node stays, and what changes every few minutes goes.
func TestTrimNode(t *testing.T) {
	ours := corev1.NodeCondition{Type: status.ConditionProgrammed, Status: corev1.ConditionTrue,
		Reason: status.ReasonProgrammed}
	addresses := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n",
		Annotations: map[string]string{v3.NodeIPv4Address: "192.0.2.7/24", "other": "x"}},
		Status: corev1.NodeStatus{Addresses: addresses, Images: make([]corev1.ContainerImage, 50),
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue,
				Reason: "KubeletReady"}, ours}}}
	off := corev1.Taint{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}
	node.Spec.Taints = []corev1.Taint{{Key: "other"}, off}
	want := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n",
		Annotations: map[string]string{v3.NodeIPv4Address: "192.0.2.7/24"}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{off}}, Status: corev1.NodeStatus{Addresses: addresses,
			Conditions: []corev1.NodeCondition{ours, {Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
	if got, err := trimNode(node); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestTrimKeepsWhatHasNoEffect, and nothing else of the annotations and labels.
func TestTrimKeepsWhatHasNoEffect(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "o", ManagedFields: make([]metav1.ManagedFieldsEntry, 3),
		Annotations: map[string]string{"cni.projectcalico.org/hwAddr": strings.Repeat("x", 1000),
			"projectcalico.org/natExcludeService": "true", "cni.projectcalico.org/ipFamilies": `["IPv4"]`,
			"cni.projectcalico.org/ipv4pools": `["p"]`, "other": "y"},
		Labels: map[string]string{"istio.io/dataplane-mode": "ambient", "app": "z"}}
	metadata := func(kind string) *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kind}, ObjectMeta: meta}
	}
	for kind, c := range map[string]struct {
		object              metav1.Object
		trim                func(any) (any, error)
		annotations, labels []string
	}{
		"Pod": {&corev1.Pod{ObjectMeta: meta}, trimPod,
			[]string{"cni.projectcalico.org/hwAddr", "cni.projectcalico.org/ipFamilies"},
			[]string{"istio.io/dataplane-mode"}},
		"Namespace": {metadata("Namespace"), trimMetadata,
			[]string{"cni.projectcalico.org/ipFamilies"}, []string{"istio.io/dataplane-mode"}},
		"Service": {metadata("Service"), trimMetadata, []string{"projectcalico.org/natExcludeService"}, nil},
	} {
		got, err := c.trim(c.object)
		o, is := got.(metav1.Object)
		if err != nil || !is {
			t.Fatalf("%s: %v, %v", kind, got, err)
		}
		annotations, labels := slices.Sorted(maps.Keys(o.GetAnnotations())), slices.Sorted(maps.Keys(o.GetLabels()))
		if !slices.Equal(annotations, c.annotations) || !slices.Equal(labels, c.labels) ||
			len(o.GetManagedFields()) > 0 {
			t.Errorf("%s keeps %q, %q, %v", kind, annotations, labels, o.GetManagedFields())
		}
		for _, value := range o.GetAnnotations() {
			if len(value) > 64 {
				t.Errorf("%s keeps %d octets of a value", kind, len(value))
			}
		}
	}
}

func TestParseConfig(t *testing.T) {
	tests := map[string]struct {
		environ, args []string
		check         func(Config) bool
		err           string
	}{
		"defaults": {nil, nil, func(c Config) bool { return reflect.DeepEqual(c, Defaults()) }, ""},
		"environment": {[]string{"LEAK_GRACE_PERIOD=1m", "LEADER_ELECTION=false"}, nil,
			func(c Config) bool { return c.LeakGracePeriod == time.Minute && !c.LeaderElection }, ""},
		"flag wins": {[]string{"WEBHOOK_PORT=1"}, []string{"--webhook-port=2"},
			func(c Config) bool { return c.WebhookPort == 2 }, ""},
		"Calico's setting": {[]string{
			"ENABLED_CONTROLLERS=policy,namespace,serviceaccount,workloadendpoint,node,loadbalancer"}, nil,
			func(c Config) bool { return len(c.enabled()) == 7 }, ""},
		"unknown controller": {[]string{"ENABLED_CONTROLLERS=nodes"}, nil, nil,
			`no controller "nodes"; there are node, ippool`},
		"etcd": {[]string{"DATASTORE_TYPE=etcdv3"}, nil, nil,
			`DATASTORE_TYPE: "etcdv3": there are controllers for the datastore kubernetes only`},
		"host endpoints": {[]string{"AUTO_HOST_ENDPOINTS=yes"}, nil, nil,
			`AUTO_HOST_ENDPOINTS: "yes" is neither enabled nor disabled`},
		"negative": {[]string{"LEAK_GRACE_PERIOD=-1s"}, nil, nil,
			"LEAK_GRACE_PERIOD: -1s must not be negative"},
		"bad value": {[]string{"NODE_GRACE_PERIOD=5"}, nil, nil, `NODE_GRACE_PERIOD="5"`},
		"Typha": {[]string{"TYPHA_K8SSERVICENAME=calico-typha", "TYPHA_CN=typha-server"}, nil,
			func(c Config) bool { return c.TyphaTLS.PeerCN == "typha-server" }, ""},
		"any Typha":     {[]string{"TYPHA_K8SSERVICENAME=calico-typha"}, nil, nil, "TYPHA_CN or TYPHA_URISAN"},
		"short overlap": {[]string{"AUTHORITY_OVERLAP=1m"}, nil, nil, "AUTHORITY_OVERLAP: 1m0s is shorter"},
		"bad level":     {[]string{"LOG_LEVEL=loud"}, nil, nil, "none of debug"},
		"bad argument":  {nil, []string{"start"}, nil, `argument "start"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := ParseConfig(test.environ, test.args)
			switch {
			case test.err == "" && (err != nil || !test.check(c)):
				t.Errorf("got %+v, %v", c, err)
			case test.err != "" && (err == nil || errors.Is(err, flag.ErrHelp) ||
				!strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v, want %q", err, test.err)
			}
		})
	}
}

// TestDocumentation holds the page to the table of settings.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/kube-controllers.md")
	if err != nil {
		t.Fatal(err)
	}
	defaults := Defaults()
	for _, s := range defaults.settings() {
		value := fmt.Sprint(reflect.ValueOf(s.target).Elem())
		if value != "" {
			value = "`" + value + "` "
		}
		row := fmt.Sprintf("| `%s` | %s| %s |", s.env, value, s.doc)
		if !strings.Contains(string(page), row+"\n") {
			t.Errorf("docs/kube-controllers.md lacks the row\n%s", row)
		}
	}
}
