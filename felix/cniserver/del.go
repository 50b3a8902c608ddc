package cniserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

// del removes an interface. A container without a record has none, which is success. spooled is
// the file that asks for it, or empty: when the file is gone, an ADD has carried it out already.
func (s *Server) del(ctx context.Context, request *protocol.Request, spooled string) error {
	r, found := s.records.get(attachment{request.ContainerID, request.IfName})
	if !found {
		return nil
	}
	defer s.pods.lock(r.pod())()
	r, found = s.records.get(r.key())
	if !found {
		return nil // while it waited for the lock
	}
	if _, err := os.Lstat(spooled); spooled != "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.remove(ctx, r)
}

// remove removes the interface of a record at once, and leaves the release of the addresses,
// and of the record with them, to the assigner: DEL does not wait for the datastore. The caller
// holds the pod's lock.
func (s *Server) remove(ctx context.Context, r record) error {
	if r.released != nil {
		return nil // the interface is removed, and the assigner may be removing the record at this moment
	}
	r.State = stateDeleting
	if err := s.records.put(r); err != nil {
		return err
	}
	if !s.replaced(r) {
		if err := s.disconnect(ctx, r); err != nil {
			return err
		}
	}
	s.opts.Log.Info("pod disconnected", "namespace", r.Namespace, "pod", r.Pod, "iface", r.HostIface, "container",
		r.ContainerID)
	released := make(chan struct{})
	r.released = released
	if err := s.records.put(r); err != nil {
		return err
	}
	s.assigner.release(r.handle(), func() {
		if err := s.records.remove(r); err != nil {
			s.opts.Log.Warn("record not removed", "error", err)
		}
		close(released)
	})
	return nil
}

// disconnect removes the interface of a record.
func (s *Server) disconnect(ctx context.Context, r record) error {
	s.opts.Endpoints.Remove(r.workload())
	if err := s.opts.Links.Delete(ctx, r.HostIface); err != nil {
		return fmt.Errorf("remove interface %s of pod %s: %w", r.HostIface, r.pod(), err)
	}
	return nil
}

// replaced reports whether the host interface belongs to another record: that of a newer sandbox of the same pod.
func (s *Server) replaced(r record) bool {
	for _, other := range s.records.all() {
		if other.HostIface == r.HostIface && other.key() != r.key() && other.State != stateDeleting {
			return true
		}
	}
	return false
}

// recover brings the records and the kernel together after a start: what has lost its
// interface is released, and DELs that came meanwhile are carried out. What fails is logged: one
// pod must not keep the node from serving the others.
func (s *Server) recover(ctx context.Context) {
	for _, r := range s.records.all() {
		exists, err := s.opts.Links.Exists(r.HostIface)
		if err == nil && (!exists || r.State == stateDeleting) {
			err = s.remove(ctx, r)
		}
		if err != nil {
			s.opts.Log.Warn("pod interface not recovered", "namespace", r.Namespace, "pod", r.Pod, "iface", r.HostIface,
				"error", err)
		}
	}
	s.drainSpool(ctx)
}

// watchSpool carries out what the plugin spools while Felix runs.
func (s *Server) watchSpool(ctx context.Context) error {
	ticker := time.NewTicker(spoolInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.drainSpool(ctx)
		}
	}
}

// drainSpool carries out the spooled DELs. One that fails stays for the next time, one that cannot be read
// is removed: its container's addresses are released when its interface is found gone.
func (s *Server) drainSpool(ctx context.Context) {
	requests, err := protocol.ReadSpool(s.opts.Spool)
	if err != nil {
		s.opts.Log.Warn("spooled DELs cannot be read", "error", err)
	}
	for path, request := range requests {
		if request != nil {
			if err := s.del(ctx, request, path); err != nil {
				s.opts.Log.Warn("spooled DEL failed, will retry", "container", request.ContainerID, "error", err)
				continue
			}
			s.opts.Log.Info("spooled DEL done", "container", request.ContainerID)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.opts.Log.Warn("spooled DEL not removed", "path", filepath.Base(path), "error", err)
		}
	}
}
