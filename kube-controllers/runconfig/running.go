package runconfig

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore/initial"
	"github.com/maneki-net/maneki/kube-controllers/once"
)

// Running is what the program runs with, as it changes.
type Running struct {
	env  Environment
	live client.Reader // a cache would never fill with a resource that cannot be decoded
	log  *slog.Logger

	mu      sync.Mutex
	config  *Config  // nil until the resource was read
	changed []func() // called after each change
}

// New makes a Running. live reads the API server directly.
func New(env Environment, live client.Reader, log *slog.Logger) *Running {
	return &Running{env: env, live: live, log: log}
}

// Config returns what the program runs with now, and nil as long as the resource was not read.
func (r *Running) Config() *Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config
}

// Node returns what the node controller runs with, and nil if it is not to do anything now.
func (r *Running) Node() *Node {
	if config := r.Config(); config != nil {
		return config.Node
	}
	return nil
}

// OnChange has a function called after each change, on the goroutine that reads the resource. It must not block.
func (r *Running) OnChange(changed func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = append(r.changed, changed)
}

// Source makes the request of a controller whose one request stands for everything at the start and at each change.
func (r *Running) Source() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		all := reconcile.Request{NamespacedName: once.All}
		r.OnChange(func() { queue.Add(all) })
		queue.Add(all)
		return nil
	})
}

// Add registers the controllers with a manager: one on every replica that reads the resource, and one on the leader
// that writes its status.
func (r *Running) Add(mgr ctrl.Manager) error {
	elected, again, all := false, true, once.Request(once.All) // a process may run the program again
	err := ctrl.NewControllerManagedBy(mgr).
		Named("configuration").
		WithOptions(controller.Options{NeedLeaderElection: &elected, SkipNameValidation: &again}).
		WatchesMetadata(&v3.KubeControllersConfiguration{}, all).
		WatchesRawSource(once.AtStart(once.All)).
		Complete(reconcile.Func(r.follow))
	if err != nil {
		return fmt.Errorf("set up the reader of the configuration: %w", err)
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("configuration-status").
		WithOptions(controller.Options{SkipNameValidation: &again}).
		WatchesMetadata(&v3.KubeControllersConfiguration{}, all).
		WatchesRawSource(once.AtStart(once.All)).
		Complete(&statusWriter{env: r.env, live: r.live, writer: mgr.GetClient(), log: r.log})
	if err != nil {
		return fmt.Errorf("set up the writer of the configuration's status: %w", err)
	}
	return nil
}

// follow reads the resource, and tells of a change.
func (r *Running) follow(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	resource, err := read(ctx, r.live)
	if err != nil {
		return reconcile.Result{}, err
	}
	config, _ := Merge(r.env, &resource.Spec)
	r.mu.Lock()
	same := reflect.DeepEqual(r.config, &config)
	r.config = &config
	changed := r.changed
	r.mu.Unlock()
	if same {
		return reconcile.Result{}, nil
	}
	r.log.Info("configuration changed", "node controller", config.Node != nil, "health checks", config.HealthChecks)
	for _, each := range changed {
		each()
	}
	return reconcile.Result{}, nil
}

// read returns the resource, or the one that there is at first where it is missing.
func read(ctx context.Context, live client.Reader) (*v3.KubeControllersConfiguration, error) {
	resource := &v3.KubeControllersConfiguration{}
	err := live.Get(ctx, client.ObjectKey{Name: initial.Name}, resource)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read KubeControllersConfiguration %s: %w", initial.Name, err)
	}
	if err != nil {
		return initial.KubeControllersConfiguration(), nil
	}
	return resource, nil
}

// statusWriter writes what the leader runs with into the resource.
type statusWriter struct {
	env    Environment
	live   client.Reader
	writer client.StatusClient
	log    *slog.Logger
}

// Reconcile writes the status if it differs.
func (s *statusWriter) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	resource, err := read(ctx, s.live)
	if err != nil || resource.UID == "" { // missing: when it is made, there is another request
		return reconcile.Result{}, err
	}
	_, status := Merge(s.env, &resource.Spec)
	if equality.Semantic.DeepEqual(resource.Status, status) {
		return reconcile.Result{}, nil
	}
	resource.Status = status
	if err := s.writer.Status().Update(ctx, resource); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("write status of KubeControllersConfiguration %s: %w", initial.Name, err)
	}
	s.log.Info("wrote the status of the configuration")
	return reconcile.Result{}, nil
}
