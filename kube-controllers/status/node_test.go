package status

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// field is a node with what replica r says of it, in a bubble of its own time.
type field struct {
	t          *testing.T
	client     client.Client
	picture    *picture
	reconciler *nodeReconciler
	writes     int
}

func newField(t *testing.T, conditions ...corev1.NodeCondition) *field {
	f := &field{t: t, picture: newPicture()}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"},
		Status: corev1.NodeStatus{Conditions: append([]corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}, conditions...)}}
	f.client = fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithStatusSubresource(node).WithObjects(node).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string,
			o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			f.writes++
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		}}).Build()
	f.start()
	return f
}

// start is what a new leader begins with.
func (f *field) start() {
	f.picture = newPicture()
	f.picture.list(map[string]bool{"r": true})
	f.reconciler = &nodeReconciler{cached: f.client, client: f.client, picture: f.picture,
		log: slog.New(slog.DiscardHandler), states: map[string]*nodeState{}}
	r := f.reconciler
	f.t.Cleanup(func() { r.set("n", nil) }) // the metric is one for all tests
}

// during has the reconciler called as its queue would call it, for a time.
func (f *field) during(d time.Duration) {
	f.t.Helper()
	for end := time.Now().Add(d); ; {
		result, err := f.reconciler.Reconcile(f.t.Context(), requestFor("n"))
		if err != nil {
			f.t.Fatal(err)
		}
		left := time.Until(end)
		if result.RequeueAfter == 0 || result.RequeueAfter > left {
			time.Sleep(left)
			return
		}
		time.Sleep(result.RequeueAfter)
	}
}

func (f *field) says(s hub.NodeStatus) {
	s.Node = "n"
	f.picture.take("r", hub.Observed{Whole: true, Nodes: []hub.NodeStatus{s}})
}

func (f *field) gone() { f.picture.take("r", hub.Observed{Whole: true}) }

// expect compares the condition, "" being none, and how often it was written so far.
func (f *field) expect(want string, writes int) corev1.NodeCondition {
	f.t.Helper()
	node := &corev1.Node{}
	if err := f.client.Get(f.t.Context(), client.ObjectKey{Name: "n"}, node); err != nil {
		f.t.Fatal(err)
	}
	if !slices.ContainsFunc(node.Status.Conditions,
		func(c corev1.NodeCondition) bool { return c.Reason == "KubeletReady" }) || len(node.Status.Conditions) > 2 {
		f.t.Errorf("with the kubelet's, the conditions are %+v", node.Status.Conditions)
	}
	got, condition := "", corev1.NodeCondition{}
	if c := Condition(node); c != nil {
		got, condition = string(c.Status)+" "+c.Reason, *c
	}
	if got != want || f.writes != writes {
		f.t.Errorf("condition %q after %d writes, want %q after %d", got, f.writes, want, writes)
	}
	return condition
}

var fine = hub.NodeStatus{Commit: 2, Applied: 2}

func TestConditionSaysHowTheNodeIs(t *testing.T) {
	for name, test := range map[string]struct {
		status  hub.NodeStatus
		want    string
		message string
	}{
		"fine":                      {fine, "True Programmed", "has applied"},
		"a commit is under way":     {hub.NodeStatus{Commit: 9, Applied: 2, BehindSeconds: 3}, "True Programmed", ""},
		"has yet to apply anything": {hub.NodeStatus{Commit: 1, BehindSeconds: 3}, "", ""},
		"behind": {hub.NodeStatus{Commit: 9, Applied: 2, BehindSeconds: 11}, "False Lagging",
			"has not applied"},
		"behind from the start": {hub.NodeStatus{Commit: 1, BehindSeconds: 11}, "False Lagging", ""},
		"errors": {hub.NodeStatus{Commit: 2, Applied: 2, Errors: []string{"one", "two"}},
			"False Failing", "one; two"},
		"many errors": {hub.NodeStatus{Errors: []string{"one", "two", "three", "four", "five"}},
			"False Failing", "one; two; three; and 2 more: see felix status on the node"},
		"a long error": {hub.NodeStatus{Errors: []string{strings.Repeat("é", 600)}}, "False Failing",
			strings.Repeat("é", 500) + "…"},
		"errors and behind": {hub.NodeStatus{BehindSeconds: 11, Errors: []string{"one"}}, "False Failing",
			"one"},
		"an older Felix": {hub.NodeStatus{Commit: 2, Applied: 2, Lacks: []string{"deflate", "not-icmp"}},
			"False Outdated", "does not understand not-icmp:"},
		"a notice": {hub.NodeStatus{Commit: 2, Applied: 2, Notices: []string{"kube-proxy is in " +
			"IPVS mode"}}, "True Programmed", "was handed out. kube-proxy is in IPVS mode"},
		"a notice and an error": {hub.NodeStatus{Commit: 2, Applied: 2, Notices: []string{"n"},
			Errors: []string{"one"}}, "False Failing", "one"},
		"lacks what closes nothing": {hub.NodeStatus{Commit: 2, Applied: 2, Lacks: []string{"deflate", "set-pieces"}},
			"True Programmed", ""},
		"lacks what is unknown": {hub.NodeStatus{Commit: 2, Applied: 2, Lacks: []string{"flying"}},
			"True Programmed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newField(t)
				f.says(test.status)
				f.during(time.Minute)
				writes := 1
				if test.want == "" {
					writes = 0
				}
				if c := f.expect(test.want, writes); !strings.Contains(c.Message, test.message) {
					t.Errorf("message %q lacks %q", c.Message, test.message)
				}
			})
		})
	}
	if wire.Closing() == 0 {
		t.Error("no feature closes anything: the cases above prove nothing")
	}
}

// TestWhatPassesIsNotWritten: only what lasts is, and that once.
func TestWhatPassesIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t)
		f.says(fine)
		f.during(settle - time.Second)
		f.expect("", 0)
		f.during(time.Minute)
		first := f.expect("True Programmed", 1)
		for i := range 20 { // commits come and go
			f.says(hub.NodeStatus{Commit: uint64(i + 3), Applied: uint64(i + 2), BehindSeconds: 1})
			f.during(time.Second)
		}
		failing := hub.NodeStatus{Commit: 30, Applied: 30, Errors: []string{"one"}}
		f.says(failing)
		f.during(settle - time.Second)
		f.says(fine)
		f.during(time.Second)
		f.says(failing)
		f.during(settle - time.Second)
		f.says(fine)
		f.during(time.Minute)
		f.expect("True Programmed", 1)

		f.says(failing)
		f.during(time.Minute)
		failed := f.expect("False Failing", 2)
		if !failed.LastTransitionTime.After(first.LastTransitionTime.Time) {
			t.Errorf("transition at %s, before that at %s", failed.LastTransitionTime, first.LastTransitionTime)
		}
		f.during(24 * time.Hour)
		f.expect("False Failing", 2)
	})
}

// TestMessagesAloneAreWrittenSeldom: another error is worth a write a minute, and is no transition.
func TestMessagesAloneAreWrittenSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t)
		f.says(hub.NodeStatus{Errors: []string{"attempt"}})
		f.during(settle)
		f.during(0)
		first := f.expect("False Failing", 1)
		for range 30 {
			f.says(hub.NodeStatus{Errors: []string{time.Now().String()}})
			f.during(10 * time.Second)
		}
		if got := f.expect("False Failing", f.writes); f.writes < 4 || f.writes > 7 ||
			!got.LastTransitionTime.Equal(&first.LastTransitionTime) {
			t.Errorf("%d writes in 5 minutes, transition at %s, at first %s", f.writes, got.LastTransitionTime,
				first.LastTransitionTime)
		}
		f.during(2 * time.Minute) // the last message comes in the end
		if got := f.expect("False Failing", f.writes); got.Message != f.reconciler.states["n"].message {
			t.Errorf("message %q, last said %q", got.Message, f.reconciler.states["n"].message)
		}
	})
}

func TestNodeThatIsNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t)
		f.gone()
		f.during(time.Hour)
		f.expect("", 0) // Felix never ran there

		f.says(fine)
		f.during(time.Minute)
		f.gone()
		f.during(grace - time.Second)
		f.expect("True Programmed", 1)
		f.says(hub.NodeStatus{Commit: 1}) // it found another replica
		f.during(time.Minute)
		f.expect("True Programmed", 1)
		f.gone()
		f.during(grace - time.Second)
		f.picture.lose("r") // nobody can say
		f.during(time.Hour)
		f.expect("True Programmed", 1)
		f.gone()
		f.during(time.Minute)
		f.expect("Unknown NotConnected", 2)
		f.during(time.Hour)
		f.says(hub.NodeStatus{Commit: 1})
		f.during(5 * time.Second)
		f.expect("Unknown NotConnected", 2) // it has yet to say how it is
		f.says(fine)
		f.during(time.Minute)
		f.expect("True Programmed", 3)
	})
}

// TestNewLeaderWritesNothingNew, and gives nodes time that a replica which it can't see may have.
func TestNewLeaderWritesNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t)
		f.says(fine)
		f.during(time.Minute)
		f.start()
		f.says(fine)
		f.during(time.Minute)
		f.expect("True Programmed", 1)

		f.start()
		f.gone()
		f.during(inheritedGrace - time.Second)
		f.expect("True Programmed", 1)
		f.during(2 * time.Second)
		f.during(0)
		f.expect("Unknown NotConnected", 2)
		f.start()
		f.gone()
		f.during(time.Hour)
		f.expect("Unknown NotConnected", 2)
	})
}

// TestMetricCountsNodes that exist.
func TestMetricCountsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t)
		f.says(hub.NodeStatus{Errors: []string{"one"}})
		f.during(0)
		if got := gauge(t, "kube_controllers_nodes", ReasonFailing); got != 1 {
			t.Errorf("%g nodes fail, want 1", got)
		}
		f.says(fine)
		f.during(0)
		if failing, fine := gauge(t, "kube_controllers_nodes", ReasonFailing),
			gauge(t, "kube_controllers_nodes", ReasonProgrammed); failing != 0 || fine != 1 {
			t.Errorf("%g nodes fail and %g are fine", failing, fine)
		}
		if err := f.client.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}); err != nil {
			t.Fatal(err)
		}
		f.during(0)
		if got := gauge(t, "kube_controllers_nodes", ReasonProgrammed); got != 0 || len(f.reconciler.states) > 0 {
			t.Errorf("%g nodes are fine after the only one is deleted", got)
		}
	})
}
