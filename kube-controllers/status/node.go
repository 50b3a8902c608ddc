package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maneki-net/maneki/kube-controllers/events"
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// ConditionProgrammed is the condition of a Node that says whether its kernel has what Typha handed out for it.
const ConditionProgrammed corev1.NodeConditionType = "maneki.net/NetworkProgrammed"

// Its reasons. The first goes with True, the last with Unknown, and the others with False.
const (
	ReasonProgrammed   = "Programmed"
	ReasonFailing      = "Failing"
	ReasonLagging      = "Lagging"
	ReasonOutdated     = "Outdated"
	ReasonNotConnected = "NotConnected"

	// reasonStarting is never written: the node is connected, and has yet to apply the first that it was handed out.
	reasonStarting = "Starting"
)

const (
	// settle is how long a state has to last before it is written, so that what passes by itself costs no write.
	settle = 5 * time.Second
	// grace is the same for a node that is not connected: it is to have time to find another replica.
	grace = 30 * time.Second
	// inheritedGrace is grace for a node that this process has not seen connected. A replica that hands its nodes over
	// is not listed any more, and does so for up to 5 minutes: only who observed it before knows of them.
	inheritedGrace = 6 * time.Minute
	// rewrite is the shortest time between two messages with the same reason.
	rewrite = time.Minute
)

// maxErrors is how many of the errors of a node go into a message.
const maxErrors = 3

// nodeState is what a node's condition should say, and since when without interruption.
type nodeState struct {
	status  corev1.ConditionStatus
	reason  string
	message string
	since   time.Time
	seen    bool // this process has seen the node connected
}

// nodeReconciler writes the condition of one node after the other.
type nodeReconciler struct {
	cached  client.Reader // of Nodes, which may lack all but their names and this condition
	client  client.Client
	picture *picture
	log     *slog.Logger
	states  map[string]*nodeState // by node; owned by the one worker
}

// Reconcile writes the condition of a node if it is another, or comes back when that is due.
func (r *nodeReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	name := request.Name
	node := &corev1.Node{}
	switch err := r.cached.Get(ctx, request.NamespacedName, node); {
	case apierrors.IsNotFound(err):
		r.set(name, nil)
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("read Node %s: %w", name, err)
	}
	now, have := time.Now(), Condition(node)
	state := r.judge(name, have, now)
	if state == nil || state.reason == reasonStarting {
		return reconcile.Result{}, nil
	}
	due := state.since.Add(hold(state))
	if have != nil && have.Status == state.status && have.Reason == state.reason {
		if have.Message == state.message {
			return reconcile.Result{}, nil
		}
		due = have.LastHeartbeatTime.Add(rewrite)
	}
	if wait := due.Sub(now); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	return reconcile.Result{}, r.write(ctx, name, have, state)
}

// Condition returns a node's own ConditionProgrammed, or nil.
func Condition(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == ConditionProgrammed {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// judge returns the state that a node is in; nil if that is not known, or Felix has never run on it.
func (r *nodeReconciler) judge(name string, have *corev1.NodeCondition, now time.Time) *nodeState {
	status, connected, known := r.picture.node(name)
	last := r.states[name]
	var next *nodeState
	switch {
	case connected:
		next = judgeConnected(status)
	case known && (last != nil || have != nil):
		next = &nodeState{status: corev1.ConditionUnknown, reason: ReasonNotConnected,
			message: "no replica of Typha has a connection of the node"}
	default:
		return nil
	}
	next.since, next.seen = now, connected || last != nil && last.seen
	if last != nil && last.status == next.status && last.reason == next.reason {
		next.since = last.since
	}
	r.set(name, next)
	return next
}

func judgeConnected(s hub.NodeStatus) *nodeState {
	lacks := (wire.ParseFeatures(s.Lacks) & wire.Closing()).Names()
	switch {
	case len(s.Errors) > 0:
		return &nodeState{status: corev1.ConditionFalse, reason: ReasonFailing, message: digest(s.Errors)}
	case s.Lagging():
		return &nodeState{status: corev1.ConditionFalse, reason: ReasonLagging,
			message: "the node has not applied what it was handed out a while ago"}
	case len(lacks) > 0:
		return &nodeState{status: corev1.ConditionFalse, reason: ReasonOutdated,
			message: "the node's Felix does not understand " +
				strings.Join(lacks, ", ") + ": what needs it is handed out in a form that closes"}
	case s.Applied == 0:
		return &nodeState{reason: reasonStarting}
	}
	message := "the node has applied what it was handed out"
	if len(s.Notices) > 0 {
		message += ". " + digest(s.Notices)
	}
	return &nodeState{status: corev1.ConditionTrue, reason: ReasonProgrammed, message: message}
}

// digest returns the first errors or notices, and the number of the others.
func digest(errs []string) string {
	text := events.Short(strings.Join(errs[:min(len(errs), maxErrors)], "; "))
	if more := len(errs) - maxErrors; more > 0 {
		text += fmt.Sprintf("; and %d more: see felix status on the node", more)
	}
	return text
}

// hold is how long a state has to last before it is written.
func hold(s *nodeState) time.Duration {
	switch {
	case s.reason != ReasonNotConnected:
		return settle
	case s.seen:
		return grace
	}
	return inheritedGrace
}

// write changes this condition alone: the API server merges conditions by their type.
func (r *nodeReconciler) write(ctx context.Context, name string, have *corev1.NodeCondition, state *nodeState) error {
	now := metav1.Now()
	condition := corev1.NodeCondition{Type: ConditionProgrammed, Status: state.status, Reason: state.reason,
		Message:           state.message,
		LastHeartbeatTime: now, LastTransitionTime: now}
	if have != nil && have.Status == state.status {
		condition.LastTransitionTime = have.LastTransitionTime
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{condition}}})
	if err != nil {
		return fmt.Errorf("write status of Node %s: %w", name, err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := r.client.Status().Patch(ctx, node, client.RawPatch(types.StrategicMergePatchType,
		body)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status of Node %s: %w", name, err)
	}
	r.log.Info("wrote condition of node", "node", name, "status", state.status, "reason", state.reason, "message",
		state.message)
	return nil
}

// set notes a node's state, which the metric counts; nil forgets it.
func (r *nodeReconciler) set(name string, state *nodeState) {
	if last := r.states[name]; last != nil {
		nodesByState.WithLabelValues(last.reason).Dec()
		delete(r.states, name)
	}
	if state != nil {
		nodesByState.WithLabelValues(state.reason).Inc()
		r.states[name] = state
	}
}
