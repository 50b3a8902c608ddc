package cniserver

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

// check compares a pod's interface with what ADD made.
func (s *Server) check(ctx context.Context, request *protocol.Request, netns *os.File) error {
	key := attachment{request.ContainerID, request.IfName}
	r, found := s.records.get(key)
	if found {
		defer s.pods.lock(r.pod())()
		r, found = s.records.get(key) // after waiting for the lock
	}
	switch {
	case !found || r.State != stateReady:
		return &protocol.Error{Code: protocol.CodeUnknownContainer,
			Msg: fmt.Sprintf("container %s has no interface %s", request.ContainerID, request.IfName)}
	case netns == nil:
		return &protocol.Error{Code: protocol.CodeInvalidEnvironment, Msg: "no network namespace came with the request"}
	}
	if err := s.opts.Links.Check(ctx, r.pair(netns)); err != nil {
		return &protocol.Error{Code: protocol.CodeInternal,
			Msg: fmt.Sprintf("interface of pod %s/%s is not as it was made", r.Namespace, r.Pod), Details: err.Error()}
	}
	return nil
}

func (s *Server) status() error {
	if err := s.opts.State().NotReady; err != nil {
		return &protocol.Error{Code: protocol.CodeNotAvailable, Msg: "the node cannot network pods yet",
			Details: err.Error()}
	}
	return nil
}

// collect removes the interfaces of the network that the runtime does not list.
func (s *Server) collect(ctx context.Context, c *config) error {
	var list []struct {
		ContainerID string `json:"containerID"`
		IfName      string `json:"ifname"`
	}
	if err := json.Unmarshal(c.ValidAttachments, &list); err != nil { // a list that is missing is one
		return invalidConfig("cni.dev/valid-attachments", string(c.ValidAttachments),
			"must list the attachments that are to stay")
	}
	valid := map[attachment]bool{}
	for _, a := range list {
		valid[attachment{a.ContainerID, a.IfName}] = true
	}
	for _, r := range s.records.all() {
		if r.Network != c.Name || valid[r.key()] || r.State != stateReady {
			continue // an ADD may be under way whose attachment the runtime did not know yet
		}
		s.opts.Log.Info("collecting a pod interface that the runtime does not list", "namespace", r.Namespace, "pod",
			r.Pod)
		if err := s.del(ctx, &protocol.Request{ContainerID: r.ContainerID, IfName: r.IfName}, ""); err != nil {
			return err
		}
	}
	return nil
}
