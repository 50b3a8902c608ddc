package felix

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/typha/wire"
)

// Agent is the CNI server's way to the kernel.
var _ cniserver.Endpoints = (*Agent)(nil)

// errEnding is the answer to requests when the agent ends.
var errEnding = errors.New("felix is ending")

// waiters are the requests of the CNI server that have not been answered.
type waiters struct {
	adds      []addWaiter
	endpoints []endpointWaiter
}

// addWaiter waits until a workload is enforced, or refused.
type addWaiter struct {
	iface     string
	done      chan error // of capacity 1
	abandoned func() bool
}

// endpointWaiter waits until a pod's endpoint is known.
type endpointWaiter struct {
	workload  cniserver.Workload
	answer    chan *wire.Endpoint // of capacity 1
	abandoned func() bool
}

// do runs op on the loop's goroutine.
func (a *Agent) do(ctx context.Context, op func()) error {
	select {
	case a.requests <- op:
		return nil
	case <-a.done:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Endpoint implements cniserver.Endpoints.
func (a *Agent) Endpoint(ctx context.Context, namespace, pod, uid string) (*wire.Endpoint, error) {
	waiter := endpointWaiter{workload: cniserver.Workload{Namespace: namespace, Pod: pod, UID: uid},
		answer: make(chan *wire.Endpoint, 1), abandoned: func() bool { return ctx.Err() != nil }}
	err := a.do(ctx, func() { a.waiters.endpoints = append(a.waiters.endpoints, waiter) })
	if err == nil {
		select {
		case endpoint := <-waiter.answer:
			return endpoint, nil
		case <-a.done:
			err = errEnding
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return nil, fmt.Errorf("pod %s/%s: wait for its policy: %w", namespace, pod, err)
}

// answerEndpoints answers those whose pod's endpoint is known.
func (w *waiters) answerEndpoints(s *state, programming bool) {
	w.endpoints = slices.DeleteFunc(w.endpoints, func(waiter endpointWaiter) bool {
		if waiter.abandoned() {
			return true
		}
		endpoint := s.endpointOf(waiter.workload)
		if endpoint == nil || !programming {
			return false
		}
		waiter.answer <- endpoint
		return true
	})
}

// Add implements cniserver.Endpoints.
func (a *Agent) Add(ctx context.Context, w cniserver.Workload) error {
	waiter := addWaiter{iface: w.HostIface, done: make(chan error, 1),
		abandoned: func() bool { return ctx.Err() != nil }}
	err := a.do(ctx, func() {
		if err := a.endpoints.refusal(w); err != nil {
			waiter.done <- err
			return
		}
		a.endpoints.add(w)
		a.endpoints.forgetConnections(w)
		a.waiters.adds = append(a.waiters.adds, waiter)
	})
	if err == nil {
		select {
		case err := <-waiter.done:
			return err
		case <-a.done:
			err = errEnding
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return fmt.Errorf("pod %s/%s: wait until the kernel has its policy and routes: %w", w.Namespace, w.Pod, err)
}

// answerAdds answers those whose workload is enforced.
func (w *waiters) answerAdds(inPlace func(iface string) bool) {
	w.adds = slices.DeleteFunc(w.adds, func(waiter addWaiter) bool {
		if waiter.abandoned() {
			return true
		}
		if !inPlace(waiter.iface) {
			return false
		}
		waiter.done <- nil
		return true
	})
}

// Remove implements cniserver.Endpoints.
func (a *Agent) Remove(w cniserver.Workload) {
	a.tell(func() {
		known := a.endpoints.made[w.HostIface]
		if known.Namespace != w.Namespace || known.Pod != w.Pod || known.ContainerID != w.ContainerID {
			return // another one has the interface
		}
		a.endpoints.forgetConnections(known)
		a.endpoints.remove(w.HostIface)
	})
}

// Conflicts implements cniserver.Endpoints.
func (a *Agent) Conflicts(problems []string) {
	a.tell(func() {
		if len(problems) > 0 && !slices.Equal(problems, a.report.conflicts) {
			a.opts.Log.Error("pods have addresses that are not theirs", "problems", problems)
		}
		a.report.conflicts = problems
	})
}

// WithoutEffect implements cniserver.Endpoints.
func (a *Agent) WithoutEffect(keys []string) {
	a.tell(func() { a.settings.ignored.cni = keys })
}

// tell runs op on the loop's goroutine, unless the loop ends. The loop serves requests while it runs, so tell returns
// soon.
func (a *Agent) tell(op func()) {
	select {
	case a.requests <- op:
	case <-a.done:
	}
}

// CNIState returns what the CNI server needs to know; it may be called from any goroutine.
func (a *Agent) CNIState() cniserver.State { return *a.shared.cni.Load() }
