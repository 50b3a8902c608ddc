package cniserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/ipam"
)

// rollbackLimit bounds the removal of what a failed ADD made.
const rollbackLimit = 5 * time.Second

func (s *Server) add(ctx context.Context, request *protocol.Request, c *config, netns *os.File) ([]byte, error) {
	started := time.Now()
	pod, err := parseArgs(request.Args)
	if err != nil {
		return nil, err
	}
	if netns == nil {
		return nil, &protocol.Error{Code: protocol.CodeInvalidEnvironment,
			Msg: "no network namespace came with the request"}
	}
	r := record{Network: c.Name, ContainerID: request.ContainerID, IfName: request.IfName, NetNS: request.NetNS,
		Namespace: pod.Namespace, Pod: pod.Pod, UID: pod.UID, State: stateAdding}
	defer s.pods.lock(r.pod())()
	if err := s.settle(ctx, r); err != nil {
		return nil, err
	}
	r, err = s.records.reserve(r)
	if err != nil {
		return nil, err
	}
	err = s.connect(ctx, &r, c, netns)
	if err == nil {
		r.State = stateReady
		err = s.records.put(r)
	}
	if err != nil {
		return nil, s.undo(ctx, r, err)
	}
	s.opts.Log.Info("pod connected", "namespace", r.Namespace, "pod", r.Pod, "iface", r.HostIface, "addrs", r.Addrs,
		"duration", time.Since(started))
	return encodeResult(c, r)
}

// settle ends what is under way of the same container: a DEL that was spooled, a release of its addresses. It
// refuses a second interface.
func (s *Server) settle(ctx context.Context, r record) error {
	spooled := r.path(s.opts.Spool)
	if _, err := os.Lstat(spooled); err == nil {
		if old, found := s.records.get(r.key()); found {
			if err := s.remove(ctx, old); err != nil {
				return err
			}
		}
		if err := os.Remove(spooled); err != nil {
			return fmt.Errorf("remove spooled DEL: %w", err)
		}
	}
	for _, old := range s.records.all() {
		switch {
		case old.key() == r.key():
			if err := old.awaitRelease(ctx); err != nil {
				return err
			}
		case old.pod() == r.pod() && old.ContainerID == r.ContainerID && old.State != stateDeleting:
			return &protocol.Error{Code: protocol.CodeInvalidEnvironment,
				Msg:     fmt.Sprintf("environment variable CNI_IFNAME=%q is invalid", r.IfName),
				Details: fmt.Sprintf("the pod has interface %s already, and can have one", old.IfName)}
		}
	}
	return nil
}

// replace removes the interfaces of former sandboxes of a pod, whose new record has none yet. Other pods' it does not
// touch, whatever they are named.
func (s *Server) replace(ctx context.Context, r record) error {
	for _, old := range s.records.all() {
		if old.pod() != r.pod() || old.ContainerID == r.ContainerID || old.State == stateDeleting {
			continue
		}
		if err := s.disconnect(ctx, old); err != nil {
			return err
		}
		if err := s.remove(ctx, old); err != nil {
			return err
		}
	}
	return nil
}

// awaitRelease waits for a release of the record's addresses that is queued. The same container's
// new ones have the same handle: they would be released too.
func (r record) awaitRelease(ctx context.Context) error {
	if r.released == nil {
		return nil
	}
	select {
	case <-r.released:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until the former addresses of pod %s/%s are released: %w", r.Namespace, r.Pod,
			ctx.Err())
	}
}

// connect does the work of an ADD and completes the record. Every step finds what an earlier
// ADD of the same container left, so that repeating it is harmless.
func (s *Server) connect(ctx context.Context, r *record, c *config, netns *os.File) error {
	if refused := s.opts.State().Refused; refused != nil {
		return refused
	}
	// A late ADD for a pod that no longer exists ends here: the interface stays with its successor.
	endpoint, err := s.opts.Endpoints.Endpoint(ctx, r.Namespace, r.Pod, r.UID)
	if err != nil {
		return err
	}
	if err := s.replace(ctx, *r); err != nil {
		return err
	}
	state := s.opts.State()
	if state.Refused != nil {
		return state.Refused
	}
	request, err := addressRequest(c, endpoint.Annotations, state)
	if err != nil {
		return err
	}
	request.Handle, request.Attributes, request.NamespaceLabels = r.handle(), r.attributes(), endpoint.NamespaceLabels
	leases, err := s.assigner.assign(ctx, assignment{host: ipam.Host{Name: s.opts.Node, Labels: state.Labels},
		pools: state.Pools, request: request})
	if err != nil {
		return err
	}
	for _, lease := range leases {
		r.Addrs = append(r.Addrs, lease.Addr)
	}
	r.MTU = c.MTU
	if r.MTU == 0 {
		r.MTU = state.MTU
	}
	if err := s.records.put(*r); err != nil {
		return err
	}
	if r.MAC == "" || s.opts.Links.Check(ctx, r.pair(netns)) != nil {
		r.MAC = ""
		made, err := s.opts.Links.Create(ctx, r.pair(netns))
		if err != nil {
			return fmt.Errorf("make interface %s of pod %s/%s: %w", r.HostIface, r.Namespace, r.Pod, err)
		}
		r.MAC = made.PodMAC.String()
	}
	return s.opts.Endpoints.Add(ctx, r.workload())
}

// undo takes back a failed ADD and gives its error. When Felix is ending instead, everything
// stays: the plugin repeats the ADD with the next Felix.
func (s *Server) undo(ctx context.Context, r record, cause error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return cause
	}
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackLimit)
	defer cancel()
	if err := s.remove(cleanup, r); err != nil {
		return fmt.Errorf("%w (and taking it back failed: %w)", cause, err)
	}
	return cause
}
