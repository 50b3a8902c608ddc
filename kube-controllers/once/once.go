// Package once is for controllers whose one request stands for everything that they look after. It holds no state;
// controllers use it while they register.
package once

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// All is the request of a controller that has no better name for it.
var All = types.NamespacedName{Name: "all"}

// Request answers every event with the same request.
func Request(name types.NamespacedName) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: name}}
	})
}
