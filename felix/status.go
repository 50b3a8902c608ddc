package felix

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/typha/wire"
)

// Status is what the agent knows and has programmed, as "felix status" shows it.
type Status struct {
	Node string `json:"node"`
	// InSync: the stream delivered everything. Programming: the kernel is kept as desired, by the stream
	// or, without it, by what the last run knew.
	InSync      bool   `json:"inSync"`
	Programming bool   `json:"programming"`
	Ready       bool   `json:"ready"`
	Commit      uint64 `json:"commit"`
	// Error is what the kernel did not take; Problems are destinations that cannot be reached.
	Error    string   `json:"error,omitempty"`
	Problems []string `json:"problems,omitempty"`
	// Notices are facts that are as configured, but may surprise a user.
	Notices []string `json:"notices,omitempty"`
	// Settings are those that a source gives, with the value that applies and the source; the others have their
	// defaults.
	Settings  []config.Given   `json:"settings,omitempty"`
	Facts     node.Facts       `json:"facts"`
	Endpoints []EndpointStatus `json:"endpoints"`
	// HostEndpoints are the host endpoints of this node, by name.
	HostEndpoints []*wire.HostEndpoint `json:"hostEndpoints,omitempty"`
	Policies      int                  `json:"policies"`
	IPSets        int                  `json:"ipSets"`
	Routes        int                  `json:"streamRoutes"`
	// IPVS is set if the node's kube-proxy is in IPVS mode.
	IPVS bool       `json:"ipvs,omitempty"`
	BGP  bgp.Status `json:"bgp"`
	// Learned are the routes that BGP has learned; Unresolved says which of them are not programmed because the
	// node has no way to their next hops, Refused because they contradict what IPAM has in the pools.
	Learned    []bgp.Route `json:"learned,omitempty"`
	Unresolved []string    `json:"unresolved,omitempty"`
	Refused    []string    `json:"refused,omitempty"`
}

// EndpointStatus is a pod's interface.
type EndpointStatus struct {
	Namespace string       `json:"namespace"`
	Pod       string       `json:"pod"`
	Interface string       `json:"interface"`
	Addrs     []netip.Addr `json:"addresses"`
	Tiers     []wire.Tier  `json:"tiers,omitempty"`
	// Closed: the pod's policy has not arrived, and nothing may pass.
	Closed bool `json:"closed,omitempty"`
}

// Status asks the loop; it may be called from any goroutine.
func (a *Agent) Status(ctx context.Context) (Status, error) {
	answer := make(chan Status, 1)
	if err := a.do(ctx, func() { answer <- a.status() }); err != nil {
		return Status{}, err
	}
	return <-answer, nil // the loop has taken the request
}

func (a *Agent) status() Status {
	a.endpoints.refresh()
	s := Status{Node: a.opts.Node, InSync: a.start.inSync, Programming: a.start.programming,
		Ready:  a.shared.live.Load(),
		Commit: a.report.commit, Error: a.report.complaint, Problems: append(a.failures(),
			a.settings.ignored.unprotected...),
		Facts: a.facts, Policies: len(a.state.policies), IPSets: len(a.state.sets), IPVS: a.settings.ipvs,
		Notices: a.notices(), Settings: a.settings.given, Routes: len(a.state.routes), BGP: a.opts.Speaker.Status(),
		Learned: a.opts.Speaker.Routes(), Unresolved: a.network.unresolved, Refused: a.network.refused,
		Endpoints: []EndpointStatus{}}
	for _, w := range a.endpoints.sorted() {
		e := EndpointStatus{Namespace: w.Namespace, Pod: w.Pod, Interface: w.HostIface, Addrs: w.Addrs, Closed: true}
		if endpoint := a.state.endpointOf(w); endpoint != nil {
			e.Closed, e.Tiers = false, endpoint.Tiers
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	for _, name := range slices.Sorted(maps.Keys(a.state.hostEndpoints)) {
		s.HostEndpoints = append(s.HostEndpoints, a.state.hostEndpoints[name])
	}
	return s
}

// Alive fails if the loop has not turned for longer than the limit; 0 is no limit.
func (a *Agent) Alive(limit time.Duration) error {
	if idle := time.Since(time.Unix(0, a.shared.beat.Load())); limit > 0 && idle > limit {
		return fmt.Errorf("the loop has not turned for %s", idle.Round(time.Second))
	}
	return nil
}

// Ready fails until the kernel has been programmed with what the stream says.
func (a *Agent) Ready() error {
	if !a.shared.live.Load() {
		return errors.New("the kernel has not been programmed yet")
	}
	return nil
}
