package status

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/kube-controllers/events"
	"github.com/maneki-net/maneki/typha/calc"
	"github.com/maneki-net/maneki/typha/hub"
	typhasync "github.com/maneki-net/maneki/typha/sync"
)

// ConditionAccepted is the condition of a ClusterNetworkPolicy that says whether all of it is used. The API names none.
const ConditionAccepted = "Accepted"

// ReasonAccepted is the reason of ConditionAccepted when it is true, ReasonUnusable when it is not.
const (
	ReasonAccepted = "Accepted"
	ReasonUnusable = "Unusable"
)

// seenByAll is how long a policy has to be what it is before it is written that nothing is wrong with it: for so long a
// replica may not have seen it yet.
const seenByAll = 3 * time.Second

// kinds are those that problems are about, by their names in them.
var kinds = func() map[string]datastore.Kind {
	byID := map[string]datastore.Kind{}
	for _, k := range typhasync.KubernetesKinds() {
		byID[k.ID()] = k
	}
	return byID
}()

// resourceReconciler tells of one resource after the other: in its status, if that has room for conditions that nobody
// else writes, and by events otherwise.
type resourceReconciler struct {
	client   client.Client // reads the API server, and no cache
	picture  *picture
	policies *policies
	log      *slog.Logger
	told     map[resource]string // the reasons that events tell of; owned by the one worker
}

// Reconcile writes what stands of a resource, if it is something else than was written.
func (r *resourceReconciler) Reconcile(ctx context.Context, key resource) (reconcile.Result, error) {
	kind, known := kinds[key.Kind]
	switch {
	case !known:
		r.log.Info("typha judges a kind that this release does not know", "kind", key.Kind, "namespace", key.Namespace,
			"name", key.Name)
		return reconcile.Result{}, nil
	case key.Kind == calc.KindIPPool || key.Kind == calc.KindTier: // they have controllers that write their conditions
		return reconcile.Result{}, nil
	case key.Kind == calc.KindClusterNetworkPolicy:
		wait, err := r.accept(ctx, kind, key)
		return reconcile.Result{RequeueAfter: wait}, err
	}
	return reconcile.Result{}, r.tell(ctx, kind, key)
}

// accept writes the condition of a ClusterNetworkPolicy, or gives when that is due.
func (r *resourceReconciler) accept(ctx context.Context, kind datastore.Kind, key resource) (wait time.Duration,
	err error) {
	v, judged := r.picture.problem(key)
	if !judged {
		return 0, nil // everything is looked at again when a replica is there
	}
	policy := &unstructured.Unstructured{} // one that has what we cannot read has a condition, too
	policy.SetGroupVersionKind(kind.GroupVersionKind)
	if err := r.client.Get(ctx, client.ObjectKey{Name: key.Name}, policy); err != nil {
		return 0, ignoreGone(fmt.Errorf("read %s %s: %w", kind, key.Name, err))
	}
	if wait := r.policies.due(key.Name, policy.GetGeneration()); wait > 0 {
		return wait, nil
	}
	before := conditionsOf(policy)
	after := slices.Clone(before)
	condition := metav1.Condition{Type: ConditionAccepted, Status: metav1.ConditionTrue, Reason: ReasonAccepted,
		Message: "all of the policy is used", ObservedGeneration: policy.GetGeneration()}
	if v.reason != "" {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, ReasonUnusable,
			events.Short(v.reason)
	}
	if !meta.SetStatusCondition(&after, condition) {
		return 0, nil
	}
	return 0, r.apply(ctx, policy, *meta.FindStatusCondition(after, ConditionAccepted))
}

// apply writes one condition, and leaves those of others alone.
func (r *resourceReconciler) apply(ctx context.Context, policy *unstructured.Unstructured,
	condition metav1.Condition) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&condition)
	if err != nil {
		return fmt.Errorf("encode condition of %s %s: %w", policy.GetKind(), policy.GetName(), err)
	}
	applied := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{fields}}}}
	applied.SetGroupVersionKind(policy.GroupVersionKind())
	applied.SetName(policy.GetName())
	err = r.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied),
		client.FieldOwner(events.Owner), client.ForceOwnership)
	if err != nil {
		return ignoreGone(fmt.Errorf("write status of %s %s: %w", policy.GetKind(), policy.GetName(), err))
	}
	r.log.Info("judged policy", "policy", policy.GetName(), "accepted", condition.Status, "message", condition.Message)
	return nil
}

func conditionsOf(o *unstructured.Unstructured) []metav1.Condition {
	var status struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	fields, _, _ := unstructured.NestedMap(o.Object, "status")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &status); err != nil {
		return nil // what is there is replaced
	}
	return status.Conditions
}

// policies are the ClusterNetworkPolicies that there are. Their CRD may be missing, or come later, which typha/sync
// copes with.
type policies struct {
	say func(context.Context, change)

	mu    sync.Mutex
	known map[string]generation // by name
}

// generation is one that a policy has, and when it was seen first.
type generation struct {
	number int64
	since  time.Time
}

// Update implements sync.Sink.
func (p *policies) Update(ctx context.Context, u hub.Update) error {
	p.say(ctx, change{resources: p.update(u)})
	return ctx.Err()
}

func (p *policies) update(u hub.Update) (all []resource) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range u.Upserts {
		if p.known[o.GetName()].number != o.GetGeneration() {
			p.known[o.GetName()] = generation{o.GetGeneration(), time.Now()}
		}
		all = append(all, policyNamed(o.GetName()))
	}
	for name := range u.Refused { // whose generation nobody can read
		p.known[name.Name] = generation{0, time.Now()}
		all = append(all, policyNamed(name.Name))
	}
	for _, name := range u.Deletes {
		delete(p.known, name.Name)
	}
	return all
}

func policyNamed(name string) resource {
	return resource{Kind: calc.KindClusterNetworkPolicy, Name: name}
}

// all returns those that there are.
func (p *policies) all() (all []resource) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range maps.Keys(p.known) {
		all = append(all, policyNamed(name))
	}
	return all
}

// due returns how long to wait until every replica has seen a generation of a policy.
func (p *policies) due(name string, number int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch g := p.known[name]; g.number {
	case number, 0:
		return seenByAll - time.Since(g.since)
	}
	return seenByAll // it will be seen, and looked at again
}
