// Package once is for controllers whose one request stands for everything that they look after. It holds no state;
// controllers use it while they register.
package once

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// All is the request of a controller that has no better name for it.
var All = types.NamespacedName{Name: "all"}

// Request answers every event with the same request.
func Request(name types.NamespacedName) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: name}}
	})
}

// AtStart makes the request once when the controller starts: there may be no object for it to come from.
func AtStart(name types.NamespacedName) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{NamespacedName: name})
		return nil
	})
}
