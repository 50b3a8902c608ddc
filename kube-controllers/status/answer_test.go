package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// report is a CalicoNodeStatus of node n, and what replica r says of the node, in a bubble of its own time.
type report struct {
	t          *testing.T
	client     client.Client
	reconciler *answerReconciler
	writes     int
}

func newReport(t *testing.T, period uint32, classes ...v3.NodeStatusClassType) *report {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v3.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	r := &report{t: t}
	o := &v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: "s", Generation: 1},
		Spec: v3.CalicoNodeStatusSpec{Node: "n", Classes: classes, UpdatePeriodSeconds: &period}}
	patched := func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
		opts ...client.SubResourcePatchOption) error {
		r.writes++
		return c.SubResource(sub).Patch(ctx, o, p, opts...)
	}
	r.client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(o).WithObjects(o).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: patched}).Build()
	r.start()
	return r
}

// start is what a new leader begins with.
func (r *report) start() {
	p := newPicture()
	p.list(map[string]bool{"r": true})
	p.take("r", hub.Observed{Whole: true})
	r.reconciler = &answerReconciler{cached: r.client, client: r.client, picture: p, log: slog.New(slog.DiscardHandler),
		asked: map[string]*asked{}}
}

// packed is a status as nodes report it.
func packed(t *testing.T, s v3.CalicoNodeStatusStatus) []byte {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	status, err := wire.PackStatus(text)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// says is an answer of the node; nil is the same as before.
func (r *report) says(s *v3.CalicoNodeStatusStatus, omitted int) {
	a := hub.NodeAnswer{Node: "n", Said: time.Now()}
	if s != nil {
		a.StatusAnswer = wire.StatusAnswer{Status: packed(r.t, *s), Omitted: omitted}
	}
	r.reconciler.picture.take("r", hub.Observed{Nodes: []hub.NodeStatus{{Node: "n"}}, Answers: []hub.NodeAnswer{a}})
}

// during has the reconciler called as its queue would call it, for a time, in which the node says the same every
// second.
func (r *report) during(d time.Duration, alive bool) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		if alive {
			r.says(nil, 0)
		}
		result, err := r.reconciler.Reconcile(r.t.Context(), requestFor("s"))
		if err != nil {
			r.t.Fatal(err)
		}
		if result.RequeueAfter == 0 {
			time.Sleep(time.Until(end))
			return
		}
		for range int(min(result.RequeueAfter, time.Until(end)) / time.Second) {
			time.Sleep(time.Second)
			if alive {
				r.says(nil, 0)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *report) object() *v3.CalicoNodeStatus {
	r.t.Helper()
	o := &v3.CalicoNodeStatus{}
	if err := r.client.Get(r.t.Context(), client.ObjectKey{Name: "s"}, o); err != nil {
		r.t.Fatal(err)
	}
	return o
}

// expect compares the status without its time, which has to be at most age old, and the number of writes since the last
// call.
func (r *report) expect(what string, want v3.CalicoNodeStatusStatus, age time.Duration, least, most int) {
	r.t.Helper()
	got := r.object().Status
	if old := time.Since(got.LastUpdated.Time); old > age+time.Second {
		r.t.Errorf("%s: the status is %v old", what, old)
	}
	got.LastUpdated = metav1.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("%s: status (-want +got):\n%s", what, diff)
	}
	if r.writes < least || r.writes > most {
		r.t.Errorf("%s: %d writes, want %d to %d", what, r.writes, least, most)
	}
	r.writes = 0
}

func (r *report) change(change func(*v3.CalicoNodeStatus)) {
	r.t.Helper()
	o := r.object()
	change(o)
	o.Generation++
	if err := r.client.Update(r.t.Context(), o); err != nil {
		r.t.Fatal(err)
	}
}

var (
	readyAgent = v3.CalicoNodeAgentStatus{BIRDV4: v3.BGPDaemonStatus{State: "Ready", RouterID: "10.0.0.1"},
		BIRDV6: v3.BGPDaemonStatus{State: "NotReady"}}
	oneSession = v3.CalicoNodeBGPStatus{NumberEstablishedV4: 1,
		PeersV4: []v3.CalicoNodePeer{{PeerIP: "10.0.0.2", State: "Established", Type: "NodeMesh"}}}
	twoRoutes = v3.CalicoNodeBGPRouteStatus{RoutesV4: []v3.CalicoNodeRoute{{Destination: "10.1.0.0/26", Type: "FIB"},
		{Destination: "10.2.0.0/26", Type: "RIB"}}}
	everything = v3.CalicoNodeStatusStatus{Agent: readyAgent, BGP: oneSession, Routes: twoRoutes}
)

// TestStatusIsWrittenByItsPeriod: the classes that are asked for and no others, as often as asked for, also when
// nothing has changed; a session that goes down is seen after a period at most.
func TestStatusIsWrittenByItsPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport(t, 20, v3.NodeStatusClassTypeBGP, v3.NodeStatusClassTypeAgent)
		r.during(20*time.Second, false) // the node is not connected, as far as is known
		r.says(&everything, 0)
		r.during(time.Second, true)
		want := v3.CalicoNodeStatusStatus{Agent: readyAgent, BGP: oneSession}
		r.expect("at first", want, 2*time.Second, 1, 1)
		r.during(100*time.Second, true)
		r.expect("unchanged", want, 21*time.Second, 4, 5)
		down := everything
		down.BGP = v3.CalicoNodeBGPStatus{NumberNotEstablishedV4: 1,
			PeersV4: []v3.CalicoNodePeer{{PeerIP: "10.0.0.2", State: "Active", Type: "NodeMesh"}}}
		r.says(&down, 0)
		r.during(21*time.Second, true)
		want.BGP = down.BGP
		r.expect("a session is down", want, 21*time.Second, 1, 2)

		r.start()
		r.says(&down, 0)
		r.during(15*time.Second, true)
		r.expect("another leader waits for the period", want, 21*time.Second, 0, 1)
		r.change(func(o *v3.CalicoNodeStatus) {
			o.Spec.Classes = []v3.NodeStatusClassType{v3.NodeStatusClassTypeRoutes}
		})
		r.during(5*time.Second, true)
		r.expect("another class is asked for", v3.CalicoNodeStatusStatus{Routes: twoRoutes}, 5*time.Second, 1, 1)
	})
}

// TestPeriodOfZero: the status is written once.
func TestPeriodOfZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport(t, 0, v3.NodeStatusClassTypeRoutes)
		r.says(&everything, 0)
		r.during(time.Minute, true)
		want := v3.CalicoNodeStatusStatus{Routes: twoRoutes}
		r.expect("once", want, 2*time.Minute, 1, 1)
		r.start()
		r.says(&everything, 0)
		r.during(time.Minute, true)
		r.expect("and no more", want, 3*time.Minute, 0, 0)
		r.change(func(o *v3.CalicoNodeStatus) { o.Spec.UpdatePeriodSeconds = new(uint32(10)) })
		r.during(30*time.Second, true)
		r.expect("with a period again", want, 12*time.Second, 2, 4)
		r.change(func(o *v3.CalicoNodeStatus) { o.Spec.UpdatePeriodSeconds = new(uint32(0)) })
		r.during(time.Minute, true)
		r.expect("and without", want, 2*time.Minute, 0, 0)
	})
}

// TestShortPeriods: a period of a second is one of five.
func TestShortPeriods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport(t, 1, v3.NodeStatusClassTypeRoutes)
		r.says(&everything, 0)
		r.during(time.Minute, true)
		r.expect("a minute", v3.CalicoNodeStatusStatus{Routes: twoRoutes}, 6*time.Second, 9, 13)
	})
}

// TestSilentNode: the agent of a node that reports no more is not ready, and when it last reported stays. A node that
// never reported has no time.
func TestSilentNode(t *testing.T) {
	for name, lose := range map[string]func(*report){
		"gone":   func(r *report) { r.reconciler.picture.take("r", hub.Observed{Gone: []string{"n"}}) },
		"silent": func(*report) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReport(t, 10, v3.NodeStatusClassTypeAgent, v3.NodeStatusClassTypeBGP)
				r.says(&everything, 0)
				r.during(30*time.Second, true)
				want := v3.CalicoNodeStatusStatus{Agent: readyAgent, BGP: oneSession}
				r.expect("it reports", want, 11*time.Second, 2, 4)
				last := r.object().Status.LastUpdated
				lose(r)
				r.during(20*time.Second, false)
				r.expect("it may come back", want, 40*time.Second, 0, 1)
				r.during(3*time.Minute, false)
				want.Agent.BIRDV4.State = "NotReady"
				r.expect("it does not", want, 5*time.Minute, 1, 2)
				if now := r.object().Status.LastUpdated; now.Sub(last.Time) > 11*time.Second {
					t.Errorf("last updated %v, then %v", last, now)
				}
				r.says(&everything, 0)
				r.during(12*time.Second, true)
				want.Agent = readyAgent
				r.expect("it is back", want, 12*time.Second, 1, 2)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newReport(t, 10, v3.NodeStatusClassTypeAgent)
		r.during(2*time.Minute, false)
		notReady := v3.BGPDaemonStatus{State: "NotReady"}
		if got := r.object().Status; got.Agent.BIRDV4 != notReady || got.Agent.BIRDV6 != notReady ||
			!got.LastUpdated.IsZero() || r.writes != 1 {
			t.Errorf("a node that never came: %+v, %d writes", got, r.writes)
		}
	})
}

// TestTruncatedStatus: an event tells once that a status does not show all.
func TestTruncatedStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReport(t, 10, v3.NodeStatusClassTypeRoutes)
		r.says(&everything, 7)
		r.during(time.Minute, true)
		var events corev1.EventList
		if err := r.client.List(t.Context(), &events); err != nil {
			t.Fatal(err)
		}
		if len(events.Items) != 1 || events.Items[0].Reason != reasonTruncated || events.Items[0].Count != 1 {
			t.Errorf("events %v", fmt.Sprint(events.Items))
		}
	})
}

// reports are written to a real API server, which refuses a state that the API does not have.
func (w *world) reports(t *testing.T) {
	w.t = t
	classes := []v3.NodeStatusClassType{v3.NodeStatusClassTypeAgent, v3.NodeStatusClassTypeBGP,
		v3.NodeStatusClassTypeRoutes}
	for name, node := range map[string]string{"good": "n1", "bad": "n2"} {
		w.create(&v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v3.CalicoNodeStatusSpec{
			Node: node, Classes: classes, UpdatePeriodSeconds: new(uint32(5))}})
	}
	invalid := everything
	invalid.Agent.BIRDV4.State = "Splendid"
	say := func(bad v3.CalicoNodeStatusStatus) {
		o := hub.Observed{Nodes: []hub.NodeStatus{{Node: "n2", Commit: 1, Applied: 1}}}
		for node, s := range map[string]v3.CalicoNodeStatusStatus{"n1": everything, "n2": bad} {
			o.Answers = append(o.Answers, hub.NodeAnswer{Node: node, Said: time.Now(),
				StatusAnswer: wire.StatusAnswer{Status: packed(t, s)}})
		}
		w.typhas.say(t.Context(), "r", o)
	}
	status := func(name string) v3.CalicoNodeStatusStatus {
		o := &v3.CalicoNodeStatus{}
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: name}, o); err != nil {
			t.Fatal(err)
		}
		return o.Status
	}
	written := func(name string) {
		t.Helper()
		w.eventually("status of "+name, func() error {
			got := status(name)
			if got.LastUpdated.IsZero() {
				return errors.New("it is not written")
			}
			got.LastUpdated = metav1.Time{}
			if diff := cmp.Diff(everything, got); diff != "" {
				return fmt.Errorf("status (-want +got):\n%s", diff)
			}
			return nil
		})
	}
	say(invalid)
	written("good")
	if got := status("bad"); !got.LastUpdated.IsZero() {
		t.Errorf("the API server takes %+v", got)
	}
	first := status("good").LastUpdated
	say(everything)
	written("bad")
	w.eventually("the next period", func() error {
		say(everything) // an answer of the same second as the last is no news
		if now := status("good").LastUpdated; !first.Before(&now) {
			return fmt.Errorf("last updated %v, still", now)
		}
		return nil
	})
	for _, name := range []string{"good", "bad"} {
		if err := w.client.Delete(t.Context(),
			&v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	w.typhas.say(t.Context(), "r", hub.Observed{Gone: []string{"n2"}})
}
