package felix

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/felix/cniserver"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/typha/wire"
)

// Agent is the CNI server's way to the kernel.
var _ cniserver.Endpoints = (*Agent)(nil)

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
		return fmt.Errorf("felix is ending")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Endpoint implements cniserver.Endpoints.
func (a *Agent) Endpoint(ctx context.Context, namespace, pod, uid string) (*wire.Endpoint, error) {
	waiter := endpointWaiter{workload: cniserver.Workload{Namespace: namespace, Pod: pod, UID: uid},
		answer: make(chan *wire.Endpoint, 1), abandoned: func() bool { return ctx.Err() != nil }}
	err := a.do(ctx, func() { a.waiters = append(a.waiters, waiter) })
	if err == nil {
		select {
		case endpoint := <-waiter.answer:
			return endpoint, nil
		case <-a.done:
			err = fmt.Errorf("felix is ending")
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return nil, fmt.Errorf("pod %s/%s: wait for its policy: %w", namespace, pod, err)
}

func (a *Agent) answerEndpoints() {
	a.waiters = slices.DeleteFunc(a.waiters, func(w endpointWaiter) bool {
		if w.abandoned() {
			return true
		}
		endpoint := a.state.endpointOf(w.workload)
		if endpoint == nil || !a.programming {
			return false
		}
		w.answer <- endpoint
		return true
	})
}

// Add implements cniserver.Endpoints.
func (a *Agent) Add(ctx context.Context, w cniserver.Workload) error {
	waiter := addWaiter{iface: w.HostIface, done: make(chan error, 1),
		abandoned: func() bool { return ctx.Err() != nil }}
	err := a.do(ctx, func() {
		if err := a.refusal(w); err != nil {
			waiter.done <- err
			return
		}
		a.workloads[w.HostIface] = w
		a.forgetConnections(w)
		a.state.dirty.rules, a.state.dirty.routes = true, true
		a.adds = append(a.adds, waiter)
	})
	if err == nil {
		select {
		case err := <-waiter.done:
			return err
		case <-a.done:
			err = fmt.Errorf("felix is ending")
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return fmt.Errorf("pod %s/%s: wait until the kernel has its policy and routes: %w", w.Namespace, w.Pod, err)
}

// refusal returns why a workload cannot be added: another one has its interface or one of its addresses.
func (a *Agent) refusal(w cniserver.Workload) error {
	for _, other := range a.sortedWorkloads() {
		same := other.Namespace == w.Namespace && other.Pod == w.Pod
		switch {
		case same:
		case other.HostIface == w.HostIface:
			return fmt.Errorf("pod %s/%s: interface %s is that of pod %s/%s: give one of them another name",
				w.Namespace, w.Pod, w.HostIface, other.Namespace, other.Pod)
		case a.hasInterface(other):
			for _, addr := range w.Addrs {
				if slices.Contains(other.Addrs, addr) {
					return fmt.Errorf("pod %s/%s: address %s is that of pod %s/%s on this node: make one of them anew",
						w.Namespace, w.Pod, addr, other.Namespace, other.Pod)
				}
			}
		}
	}
	return nil
}

// answerAdds tells those whose workload is enforced.
func (a *Agent) answerAdds(enforced map[dataplane.Family]bool) {
	a.adds = slices.DeleteFunc(a.adds, func(waiter addWaiter) bool {
		if waiter.abandoned() {
			return true
		}
		w, exists := a.workloads[waiter.iface]
		if !exists || !a.inPlace(w, enforced) {
			return false
		}
		waiter.done <- nil
		return true
	})
}

// inPlace reports whether a workload's policy, routes and interface settings are.
func (a *Agent) inPlace(w cniserver.Workload, enforced map[dataplane.Family]bool) bool {
	if a.state.endpointOf(w) == nil || !a.opts.Drivers.Sysctls.InPlace(w.HostIface) {
		return false
	}
	for _, addr := range w.Addrs {
		for _, f := range a.opts.Drivers.Families {
			if f.Family == dataplane.FamilyOf(addr) && (!enforced[f.Family] || !f.Connections.InPlace(addr) ||
				!f.Routes.InPlace(route.Key{Dst: netip.PrefixFrom(addr, addr.BitLen())})) {
				return false
			}
		}
	}
	return true
}

// Remove implements cniserver.Endpoints.
func (a *Agent) Remove(w cniserver.Workload) {
	a.tell(func() {
		known := a.workloads[w.HostIface]
		if known.Namespace != w.Namespace || known.Pod != w.Pod || known.ContainerID != w.ContainerID {
			return // another one has the interface
		}
		a.forgetConnections(known)
		delete(a.workloads, w.HostIface)
		a.state.dirty.rules, a.state.dirty.routes = true, true
	})
}

// Conflicts implements cniserver.Endpoints.
func (a *Agent) Conflicts(problems []string) {
	a.tell(func() {
		if len(problems) > 0 && !slices.Equal(problems, a.conflicts) {
			a.log.Error("pods have addresses that are not theirs", "problems", problems)
		}
		a.conflicts = problems
	})
}

// WithoutEffect implements cniserver.Endpoints.
func (a *Agent) WithoutEffect(keys []string) {
	a.tell(func() { a.ignored.cni = keys })
}

// tell runs op on the loop's goroutine, unless the loop ends. The loop serves requests while it runs, so tell returns
// soon.
func (a *Agent) tell(op func()) {
	select {
	case a.requests <- op:
	case <-a.done:
	}
}

// forgetConnections takes from what policy passes as established the connections of a workload that comes or goes:
// the next that has its address must not be reached through them. The CNI server may have lost
// the one that went with an earlier process, so a new one does not count on it.
func (a *Agent) forgetConnections(w cniserver.Workload) {
	for _, f := range a.opts.Drivers.Families {
		for _, addr := range w.Addrs {
			f.Connections.Forget(addr)
		}
	}
}

// CNIState returns what the CNI server needs to know; it may be called from any goroutine.
func (a *Agent) CNIState() cniserver.State { return *a.cni.Load() }
