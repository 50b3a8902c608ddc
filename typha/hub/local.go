package hub

import (
	"context"
	"sync/atomic"

	"github.com/maneki-net/maneki/typha/wire"
)

// localSource is a node's session that the first call of Next opens.
type localSource struct {
	hub     *Hub
	node    string
	session atomic.Pointer[Session] // set by Next, read by Report and Answer
}

// Source returns a Source for a reader in the same process that lives as long as the Hub.
func (h *Hub) Source(node string) Source { return &localSource{hub: h, node: node} }

// Next implements Source.
func (l *localSource) Next(ctx context.Context) (wire.Commit, error) {
	s := l.session.Load()
	if s == nil {
		var err error
		s, err = l.hub.Connect(ctx, Hello{Node: l.node, Features: wire.AllFeatures.Names()})
		if err != nil {
			return wire.Commit{}, err
		}
		l.session.Store(s)
	}
	return s.Next(ctx)
}

// Report implements Source.
func (l *localSource) Report(r wire.Report) {
	if s := l.session.Load(); s != nil {
		s.Report(r)
	}
}

// Answer implements Source.
func (l *localSource) Answer(a wire.StatusAnswer) {
	if s := l.session.Load(); s != nil {
		s.Answer(a)
	}
}
