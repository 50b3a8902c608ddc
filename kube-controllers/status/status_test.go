package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/kubernetes"
	"github.com/maneki-net/maneki/kube-controllers/events"
	"github.com/maneki-net/maneki/test/apiserver"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
)

// world is an API server, and the controllers with a replica at the address r.
type world struct {
	t      *testing.T
	server *apiserver.Server
	client client.Client
	typhas *typhas
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := apiserver.Start(t)
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}",
		"sigs.k8s.io/network-policy-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	crd := filepath.Join(strings.TrimSpace(string(module)),
		"config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml")
	for _, args := range [][]string{{"create", "-f", crd}, {"wait", "-f", crd, "--for=condition=Established"}} {
		if out, err := exec.CommandContext(t.Context(), server.Kubectl,
			append(args, "--kubeconfig="+server.Kubeconfig)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v3.AddToScheme(scheme),
		policyv1alpha2.Install(scheme)); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, server: server, client: c, typhas: newTyphas()}
}

// lead runs the controllers as a new leader would, until stop is called.
func (w *world) lead() (stop func()) {
	w.t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v3.AddToScheme(scheme)); err != nil {
		w.t.Fatal(err)
	}
	mgr, err := ctrl.NewManager(w.server.Config, ctrl.Options{Scheme: scheme,
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)}})
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := kubernetes.New(w.server.Config)
	if err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	if err := Add(mgr, Options{Replicas: w.typhas, Observe: w.typhas.observe, Store: store, Log: log}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the manager ends with %v", err)
		}
	}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.client.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	last := errors.New("never looked")
	err := wait.PollUntilContextTimeout(w.t.Context(), 100*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) {
			last = check()
			return last == nil, nil
		})
	if err != nil {
		w.t.Fatalf("%s: %v", what, last)
	}
}

// accepted waits for the condition of a ClusterNetworkPolicy.
func (w *world) accepted(name string, status metav1.ConditionStatus,
	message string) (p policyv1alpha2.ClusterNetworkPolicy) {
	w.t.Helper()
	w.eventually("condition of "+name, func() error {
		if err := w.client.Get(w.t.Context(), client.ObjectKey{Name: name}, &p); err != nil {
			return err
		}
		c := meta.FindStatusCondition(p.Status.Conditions, ConditionAccepted)
		if c == nil || c.Status != status || !strings.Contains(c.Message, message) ||
			c.ObservedGeneration != p.Generation {
			return fmt.Errorf("generation %d, conditions %+v", p.Generation, p.Status.Conditions)
		}
		return nil
	})
	return p
}

// events gives those on an object: "type reason count" each, in the order of their first times.
func (w *world) events(kind, name string) string {
	w.t.Helper()
	var list corev1.EventList
	if err := w.client.List(w.t.Context(), &list); err != nil {
		w.t.Fatal(err)
	}
	found := map[string]string{}
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && e.InvolvedObject.UID != "" &&
			e.Source.Component == events.Owner {
			found[e.Type] += fmt.Sprintf("%s %s %d %q; ", e.Type, e.Reason, e.Count, e.Message)
		}
	}
	return found[corev1.EventTypeWarning] + found[corev1.EventTypeNormal]
}

// expectEvents waits for the events on an object.
func (w *world) expectEvents(kind, name, want string) {
	w.t.Helper()
	w.eventually("events of "+kind+" "+name, func() error {
		if got := w.events(kind, name); got != want {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

func clusterPolicy(name string) *policyv1alpha2.ClusterNetworkPolicy {
	return &policyv1alpha2.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1alpha2.ClusterNetworkPolicySpec{
			Tier: policyv1alpha2.AdminTier, Priority: 10,
			Subject: policyv1alpha2.ClusterNetworkPolicySubject{Namespaces: &metav1.LabelSelector{}}}}
}

func globalPolicy(name string) *v3.GlobalNetworkPolicy {
	return &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// TestWhatIsWritten to a real API server.
func TestWhatIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: starts an API server")
	}
	w := newWorld(t)
	w.create(clusterPolicy("names"), clusterPolicy("good"), globalPolicy("half"), globalPolicy("marker"),
		globalPolicy("going"),
		&v3.IPPool{ObjectMeta: metav1.ObjectMeta{Name: "pool"}, Spec: v3.IPPoolSpec{CIDR: "10.0.0.0/16"}},
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	first := hub.Observed{Whole: true, Nodes: []hub.NodeStatus{{Node: "n1", Commit: 1, Applied: 1}},
		Problems: []calc.Problem{
			{Kind: calc.KindClusterNetworkPolicy, Name: "names", Reason: "no names"},
			{Kind: kindGNP, Name: "half", Reason: "bad rule"}, {Kind: kindGNP, Name: "going", Reason: "bad rule"},
			{Kind: kindGNP, Name: "ghost", Reason: "bad rule"},
			{Kind: calc.KindNetworkPolicy, Namespace: "default", Name: "web", Reason: "bad port"},
			{Kind: calc.KindIPPool, Name: "pool", Reason: "bad mode"},
			{Kind: calc.KindNode, Name: "n1", Reason: "bad address"},
			{Kind: "Surprise.example.org", Name: "x", Reason: "of a later release"}}}
	w.typhas.up("r", first)
	w.typhas.list("r@r")
	stop := w.lead()
	t.Run("what nodes report", func(t *testing.T) { w.reports(t) })
	t.Run("at first", func(t *testing.T) { w.atFirst(t) })
	t.Run("news", func(t *testing.T) { w.news(t) })
	stop()
	t.Run("the next leader", func(t *testing.T) { w.nextLeader(t, first) })
}

func (w *world) atFirst(t *testing.T) {
	w.t = t
	w.accepted("names", metav1.ConditionFalse, "no names")
	w.accepted("good", metav1.ConditionTrue, "")
	w.expectEvents("GlobalNetworkPolicy", "half", `Warning Unusable 1 "bad rule"; `)
	w.expectEvents("GlobalNetworkPolicy", "going", `Warning Unusable 1 "bad rule"; `)
	w.expectEvents("NetworkPolicy", "web", `Warning Unusable 1 "bad port"; `)
	w.expectEvents("Node", "n1", `Warning Unusable 1 "bad address"; `)
	for _, none := range [][2]string{{"GlobalNetworkPolicy", "ghost"}, {"IPPool", "pool"},
		{"GlobalNetworkPolicy", "marker"}, {"ClusterNetworkPolicy", "names"}} {
		if got := w.events(none[0], none[1]); got != "" {
			t.Errorf("%v has events %s", none, got)
		}
	}
	if got := gauge(t, "kube_controllers_unusable_resources", kindGNP); got != 3 {
		t.Errorf("%g GlobalNetworkPolicies are unusable, want 3", got)
	}
	w.eventually("condition of the node", func() error {
		node := &corev1.Node{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: "n1"}, node); err != nil {
			return err
		}
		if c := Condition(node); c == nil || c.Status != corev1.ConditionTrue {
			return fmt.Errorf("conditions %+v", node.Status.Conditions)
		}
		return nil
	})
	if out, err := exec.CommandContext(t.Context(), w.server.Kubectl, "--kubeconfig="+w.server.Kubeconfig, "describe",
		"globalnetworkpolicies.projectcalico.org", "half").CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "bad rule") {
		t.Errorf("kubectl describe does not show the event: %v\n%s", err, out)
	}
}

func (w *world) news(t *testing.T) {
	w.t = t
	// Someone else has a condition there, too.
	foreign := []byte(`{"apiVersion":"policy.networking.k8s.io/v1alpha2","kind":"ClusterNetworkPolicy","metadata":{"name":"names"},"status":{"conditions":[` +
		`{"type":"Other","status":"True","reason":"R","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	if err := w.client.Status().Patch(t.Context(), clusterPolicy("names"),
		client.RawPatch(types.ApplyPatchType, foreign), client.FieldOwner("other")); err != nil {
		t.Fatal(err)
	}
	say := func(kind, name, reason string) {
		w.typhas.say(t.Context(), "r", hub.Observed{Problems: []calc.Problem{{Kind: kind, Name: name, Reason: reason}}})
	}
	say(calc.KindClusterNetworkPolicy, "names", "")
	if p := w.accepted("names", metav1.ConditionTrue, ""); !meta.IsStatusConditionTrue(p.Status.Conditions, "Other") {
		t.Errorf("conditions %+v, want the other one, too", p.Status.Conditions)
	}
	p := w.accepted("good", metav1.ConditionTrue, "")
	p.Spec.Priority++
	if err := w.client.Update(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	w.accepted("good", metav1.ConditionTrue, "") // of the new generation

	say(kindGNP, "half", "")
	usable := `Normal Usable 1 "can be used again; what was wrong: bad rule"; `
	w.expectEvents("GlobalNetworkPolicy", "half", `Warning Unusable 1 "bad rule"; `+usable)
	say(kindGNP, "half", "bad rule")
	w.expectEvents("GlobalNetworkPolicy", "half", `Warning Unusable 2 "bad rule"; `+usable)
	say(kindGNP, "half", "bad rule")
	if err := w.client.Delete(t.Context(), globalPolicy("going")); err != nil {
		t.Fatal(err)
	}
	say(kindGNP, "going", "")
	say(kindGNP, "marker", "marks") // there is one worker: what came before is done
	w.expectEvents("GlobalNetworkPolicy", "marker", `Warning Unusable 1 "marks"; `)
	w.expectEvents("GlobalNetworkPolicy", "half", `Warning Unusable 2 "bad rule"; `+usable)
	w.expectEvents("GlobalNetworkPolicy", "going", `Warning Unusable 1 "bad rule"; `)
}

// nextLeader hears at first what stood before, and then one thing more.
func (w *world) nextLeader(t *testing.T, first hub.Observed) {
	w.t = t
	revisions := func() (all []string) {
		var events corev1.EventList
		var policies policyv1alpha2.ClusterNetworkPolicyList
		var nodes corev1.NodeList
		if err := errors.Join(w.client.List(t.Context(), &events), w.client.List(t.Context(), &policies),
			w.client.List(t.Context(), &nodes)); err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Items {
			all = append(all, "Event "+e.Name+" "+e.ResourceVersion)
		}
		for _, p := range policies.Items {
			all = append(all, "ClusterNetworkPolicy "+p.Name+" "+p.ResourceVersion)
		}
		for _, n := range nodes.Items {
			all = append(all, "Node "+n.Name+" "+n.ResourceVersion)
		}
		return all
	}
	before := strings.Join(revisions(), "\n")
	first.Problems = first.Problems[1:] // names is all right by now
	w.typhas.up("r", first)
	defer w.lead()()
	w.eventually("the new leader listens", func() error {
		if len(w.typhas.waiting("r")) > 0 {
			return errors.New("not yet")
		}
		return nil
	})
	w.create(globalPolicy("last"), clusterPolicy("last"))
	w.typhas.say(t.Context(), "r", hub.Observed{Problems: []calc.Problem{{Kind: kindGNP, Name: "last",
		Reason: "marks"}}})
	w.expectEvents("GlobalNetworkPolicy", "last", `Warning Unusable 1 "marks"; `)
	w.accepted("last", metav1.ConditionTrue, "") // in its turn after the others
	var after []string
	for _, line := range revisions() {
		if !strings.Contains(line, " last") {
			after = append(after, line)
		}
	}
	if got := strings.Join(after, "\n"); got != before {
		t.Errorf("the new leader wrote something: before\n%s\nafter\n%s", before, got)
	}
}
