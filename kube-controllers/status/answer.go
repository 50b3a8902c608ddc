package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/kube-controllers/events"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// The writes of CalicoNodeStatuses have a limit of their own, so that many of them do not hold up the other findings.
// With more than can be written, each is written less often than it asks for.
const (
	answersPerSecond = 10
	answersBurst     = 20
)

const (
	// defaultPeriod is that of a CalicoNodeStatus that has none.
	defaultPeriod = 10 * time.Second
	// minPeriod is the shortest time between two writes of one CalicoNodeStatus.
	minPeriod = 5 * time.Second
	// answerTime is how long a node has to answer what it is asked anew.
	answerTime = 3 * time.Second
	// lookAgain is how soon is looked again for an answer that is due.
	lookAgain = time.Second
	// silent is how many periods a connected node may leave out before it does not count as reporting.
	silent = 3
)

// reasonTruncated is the reason of an event on a CalicoNodeStatus that does not show all.
const reasonTruncated = "Truncated"

// answerReconciler writes what nodes report on themselves into the CalicoNodeStatuses that ask for it, one after the
// other.
type answerReconciler struct {
	cached  client.Reader // whose CalicoNodeStatuses have passed TrimNodeStatus
	client  client.Client
	picture *picture
	log     *slog.Logger
	asked   map[string]*asked // by name; owned by the one worker
}

// asked is what this process knows of a CalicoNodeStatus.
type asked struct {
	generation int64
	since      time.Time // when the generation was first seen
	written    time.Time // when the status was written last, zero if not by this process
	current    bool      // and it was of the generation
	lost       time.Time // since when the node has not reported, zero if it does
	truncated  bool      // an event told of it
}

// TrimNodeStatus returns a CalicoNodeStatus without what is long and nobody reads from a cache.
func TrimNodeStatus(obj any) (any, error) {
	o, is := obj.(*v3.CalicoNodeStatus)
	if !is {
		return obj, nil
	}
	return &v3.CalicoNodeStatus{TypeMeta: o.TypeMeta, Spec: o.Spec,
		ObjectMeta: metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion,
			Generation: o.Generation},
		Status: v3.CalicoNodeStatusStatus{LastUpdated: o.Status.LastUpdated, Agent: o.Status.Agent}}, nil
}

// Reconcile writes the status of a CalicoNodeStatus if that is due, and says when it is due again.
func (r *answerReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	o := &v3.CalicoNodeStatus{}
	switch err := r.cached.Get(ctx, request.NamespacedName, o); {
	case apierrors.IsNotFound(err):
		delete(r.asked, request.Name)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("read CalicoNodeStatus %s: %w", request.Name, err)
	}
	now := time.Now()
	state := r.stateOf(o, now)
	period, repeats := periodOf(o)
	if !repeats && (!o.Status.LastUpdated.IsZero() || !state.written.IsZero()) {
		return reconcile.Result{}, nil
	}
	if wait := state.due(o, period).Sub(now); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	a, connected, known := r.picture.answer(o.Spec.Node)
	if connected && a.Said.After(now.Add(-silent*period-grace)) {
		state.lost = time.Time{}
		if !a.Said.After(o.Status.LastUpdated.Time.Add(time.Second)) && state.current {
			return reconcile.Result{RequeueAfter: lookAgain}, nil
		}
		return r.write(ctx, o, state, a)
	}
	if (connected || known) && state.lost.IsZero() {
		state.lost = now
	}
	if state.lost.IsZero() || now.Before(state.lost.Add(grace)) {
		return reconcile.Result{RequeueAfter: lookAgain}, nil
	}
	return reconcile.Result{RequeueAfter: period}, r.writeLost(ctx, o)
}

// addAnswers registers the controller of the CalicoNodeStatuses.
func addAnswers(mgr ctrl.Manager, c *controllers) error {
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS, config.Burst = answersPerSecond, answersBurst
	direct, err := client.New(config, client.Options{
		Scheme: mgr.GetScheme(), HTTPClient: mgr.GetHTTPClient(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return fmt.Errorf("make a client for the status of nodes: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("status-calico-nodes").
		For(&v3.CalicoNodeStatus{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(&answerReconciler{cached: c.cached, client: direct, picture: c.picture, log: c.Log,
			asked: map[string]*asked{}})
}

// stateOf returns what is known of a CalicoNodeStatus.
func (r *answerReconciler) stateOf(o *v3.CalicoNodeStatus, now time.Time) *asked {
	state := r.asked[o.Name]
	switch {
	case state == nil:
		// An earlier leader may have written it.
		state = &asked{generation: o.Generation, since: now, current: !o.Status.LastUpdated.IsZero()}
		r.asked[o.Name] = state
	case state.generation != o.Generation:
		state.generation, state.since, state.current = o.Generation, now, false
	}
	return state
}

// due returns when the status is to be written.
func (s *asked) due(o *v3.CalicoNodeStatus, period time.Duration) time.Time {
	last := o.Status.LastUpdated.Time
	if s.written.After(last) {
		last = s.written
	}
	if !s.current && !last.IsZero() {
		return s.since.Add(answerTime)
	}
	return last.Add(period)
}

// periodOf returns the time between two writes, and whether there is more than one.
func periodOf(o *v3.CalicoNodeStatus) (period time.Duration, repeats bool) {
	switch seconds := o.Spec.UpdatePeriodSeconds; {
	case seconds == nil:
		return defaultPeriod, true
	case *seconds == 0:
		return defaultPeriod, false
	default:
		return max(time.Duration(*seconds)*time.Second, minPeriod), true
	}
}

// write replaces the status by what the node reports of the classes that are asked for.
func (r *answerReconciler) write(ctx context.Context, o *v3.CalicoNodeStatus, state *asked,
	a hub.NodeAnswer) (reconcile.Result, error) {
	period, _ := periodOf(o)
	result := reconcile.Result{RequeueAfter: period}
	var all v3.CalicoNodeStatusStatus
	text, err := wire.UnpackStatus(a.Status)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		r.log.Warn("what the node reports cannot be read", "node", o.Spec.Node, "status", o.Name, "error", err)
		return result, nil
	}
	status := v3.CalicoNodeStatusStatus{LastUpdated: metav1.NewTime(a.Said)}
	for _, class := range o.Spec.Classes {
		switch class {
		case v3.NodeStatusClassTypeAgent:
			status.Agent = all.Agent
		case v3.NodeStatusClassTypeBGP:
			status.BGP = all.BGP
		case v3.NodeStatusClassTypeRoutes:
			status.Routes = all.Routes
		}
	}
	body, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status", "value": status}})
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("write status of CalicoNodeStatus %s: %w", o.Name, err)
	}
	state.written, state.current = time.Now(), true
	if err := r.patch(ctx, o, types.JSONPatchType, body); err != nil {
		return result, err
	}
	return result, r.tellTruncated(ctx, o, state, a.Omitted)
}

// writeLost says of a node that does not report that it is not ready. When it last reported stays.
func (r *answerReconciler) writeLost(ctx context.Context, o *v3.CalicoNodeStatus) error {
	notReady := v3.BGPDaemonStatus{State: v3.BGPDaemonStateNotReady}
	agent := o.Status.Agent
	if !slices.Contains(o.Spec.Classes, v3.NodeStatusClassTypeAgent) ||
		agent.BIRDV4.State == notReady.State && agent.BIRDV6.State == notReady.State {
		return nil
	}
	lost := map[string]any{"agent": v3.CalicoNodeAgentStatus{BIRDV4: notReady, BIRDV6: notReady}}
	body, err := json.Marshal(map[string]any{"status": lost})
	if err != nil {
		return fmt.Errorf("write status of CalicoNodeStatus %s: %w", o.Name, err)
	}
	r.log.Info("node does not report", "node", o.Spec.Node, "status", o.Name)
	return r.patch(ctx, o, types.MergePatchType, body)
}

func (r *answerReconciler) patch(ctx context.Context, o *v3.CalicoNodeStatus, kind types.PatchType, body []byte) error {
	object := &v3.CalicoNodeStatus{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}
	err := r.client.Status().Patch(ctx, object, client.RawPatch(kind, body))
	if apierrors.IsInvalid(err) {
		r.log.Warn("the API server refuses what the node reports", "node", o.Spec.Node, "status", o.Name, "error", err)
		return nil // it may report something else after the period
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status of CalicoNodeStatus %s: %w", o.Name, err)
	}
	return nil
}

// tellTruncated makes an event when a status begins to lack what the node has.
func (r *answerReconciler) tellTruncated(ctx context.Context, o *v3.CalicoNodeStatus, state *asked, omitted int) error {
	if told := state.truncated; told || omitted == 0 {
		state.truncated = told && omitted > 0
		return nil
	}
	about := corev1.ObjectReference{APIVersion: v3.GroupVersion.String(), Kind: "CalicoNodeStatus",
		Name: o.Name, UID: o.UID}
	message := fmt.Sprintf("node %s has more peers or routes than a status shows: "+
		"calicoctl node status has all peers, felix status all that BGP has learned", o.Spec.Node)
	writer := events.Writer{Client: r.client, Log: r.log}
	err := writer.Write(ctx, events.On(about, corev1.EventTypeWarning, reasonTruncated, message), true)
	state.truncated = err == nil
	return err
}
