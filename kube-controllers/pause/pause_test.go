package pause_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/kube-controllers/pause"
)

// TestWhile: a reconciler is called unless the ClusterInformation default says datastoreReady: false, or cannot be
// read.
func TestWhile(t *testing.T) {
	yes, no := true, false
	unreadable := errors.New("out of reach")
	for name, test := range map[string]struct {
		info   string // the name of the ClusterInformation, or nothing
		ready  *bool
		err    error
		called bool
	}{
		"none":            {called: true},
		"nothing said":    {info: "default", called: true},
		"ready":           {info: "default", ready: &yes, called: true},
		"not ready":       {info: "default", ready: &no},
		"of another name": {info: "other", ready: &no, called: true},
		"unreadable":      {err: unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v3.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			b := fake.NewClientBuilder().WithScheme(scheme)
			if test.info != "" {
				b = b.WithObjects(&v3.ClusterInformation{ObjectMeta: metav1.ObjectMeta{Name: test.info},
					Spec: v3.ClusterInformationSpec{DatastoreReady: test.ready}})
			}
			if test.err != nil {
				b = b.WithInterceptorFuncs(interceptor.Funcs{Get: func(context.Context, client.WithWatch,
					client.ObjectKey,
					client.Object, ...client.GetOption) error {
					return test.err
				}})
			}
			called := false
			next := reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
				called = true
				return reconcile.Result{}, nil
			})
			paused := pause.While(b.Build(), slog.New(slog.DiscardHandler), next)
			result, err := paused.Reconcile(t.Context(), reconcile.Request{})
			again := result.RequeueAfter > 0
			if called != test.called || !errors.Is(err, test.err) || again != (!called && err == nil) {
				t.Errorf("called: %v, want %v; %+v, %v", called, test.called, result, err)
			}
		})
	}
}
