package transport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/maneki-net/maneki/typha/wire"
)

// reader collects the frames of one connection into commits. It is owned by the goroutine of Client.Run.
type reader struct {
	client  *Client
	up      *call
	served  func()   // called once, with the welcome; may be nil
	renew   func()   // starts to present renewed tokens; nil once it was called
	welcome *welcome // nil before it was received
	inSync  bool     // a commit was delivered with which the consumer is in sync
	next    nextCommit
}

// nextCommit is what was received since the last mark.
type nextCommit struct {
	wire.Commit
	hashes  map[wire.ID]wire.Hash      // of the upserts but IP sets
	fresh   map[string]*wire.PackedSet // sets that were received whole
	changed map[string]*setChange      // sets that the consumer has
}

// setChange is a change of an IP set, and the set afterwards.
type setChange struct {
	set   *wire.PackedSet
	delta wire.SetDelta
}

func newReader(c *Client, up *call) *reader {
	return &reader{client: c, up: up, next: newCommit()}
}

func newCommit() nextCommit {
	return nextCommit{hashes: map[wire.ID]wire.Hash{}, fresh: map[string]*wire.PackedSet{},
		changed: map[string]*setChange{}}
}

func (r *reader) frames(ctx context.Context, message []byte) error {
	return decodeFrames(message, func(kind int, body []byte) error { return r.frame(ctx, kind, body) })
}

func (r *reader) frame(ctx context.Context, kind int, body []byte) error {
	switch kind {
	case frameWelcome:
		return r.greeted(body)
	case frameObject:
		return r.object(body)
	case frameSetDelta:
		return r.setDelta(body)
	case frameSetPieces:
		return r.setPieces(body)
	case frameDelete:
		var id wire.ID
		if err := decodeBody(body, &id); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
		r.next.Deletes = append(r.next.Deletes, id)
	case frameCommit:
		var mark commitMark
		if err := decodeBody(body, &mark); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		return r.deliver(ctx, mark)
	case frameDeflate:
		inner, err := inflate(body)
		if err != nil {
			return err
		}
		return decodeFrames(inner, func(kind int, body []byte) error {
			if kind == frameDeflate {
				return errors.New("a compressed frame is in a compressed frame")
			}
			return r.frame(ctx, kind, body)
		})
	case frameCluster:
		var cluster wire.Cluster
		if err := decodeBody(body, &cluster); err != nil {
			return fmt.Errorf("counts of the cluster: %w", err)
		}
		r.client.cluster.Store(&cluster)
	case framePing:
		return r.up.send(framePing, cbor.RawMessage(body))
	}
	return nil
}

func (r *reader) greeted(body []byte) error {
	w, err := greeted(body)
	if err != nil {
		return err
	}
	if r.welcome == nil {
		r.client.opts.Syncing(Resyncing)
		if r.served != nil {
			r.served()
		}
	}
	r.welcome = &w
	if slices.Contains(w.Features, featureToken) && r.renew != nil {
		r.renew()
		r.renew = nil
	}
	return nil
}

// greeted decodes a welcome, and fails if the versions of the protocol are too far apart.
func greeted(body []byte) (welcome, error) {
	var w welcome
	if err := decodeBody(body, &w); err != nil {
		return w, fmt.Errorf("welcome: %w", err)
	}
	if w.Version < ProtocolVersion-1 || w.Version > ProtocolVersion+1 {
		return w, fmt.Errorf("typha speaks protocol version %d, only %d and its neighbours are understood",
			w.Version, ProtocolVersion)
	}
	return w, nil
}

func (r *reader) object(body []byte) error {
	var b objectBody
	if err := decodeBody(body, &b); err != nil {
		return fmt.Errorf("object: %w", err)
	}
	if b.Kind == wire.KindIPSet {
		set := &wire.PackedSet{}
		if err := wire.Decode(b.Data, set); err != nil {
			return fmt.Errorf("decode %s: %w", b.Kind, err)
		}
		r.next.fresh[set.Name] = set
		return nil
	}
	o, err := wire.DecodeObject(b.Kind, b.Data)
	switch {
	case errors.Is(err, wire.ErrUnknownKind):
		r.client.log.Debug("skipping an object of a later release", "kind", b.Kind.String())
		return nil
	case err != nil:
		return err
	}
	r.next.hashes[o.ID()] = wire.HashOf(b.Data)
	r.next.Upserts = append(r.next.Upserts, o)
	return nil
}

// setPieces receives a set of which the consumer has another version.
func (r *reader) setPieces(body []byte) error {
	var s wire.SetPieces
	if err := decodeBody(body, &s); err != nil {
		return fmt.Errorf("pieces of a set: %w", err)
	}
	held := r.client.holding.sets[s.Name]
	if held == nil {
		return fmt.Errorf("pieces of set %s, which is not held", s.Name)
	}
	set, err := s.Assemble(held)
	if err != nil {
		delete(r.client.holding.sets, s.Name) // the server sends it whole after the next hello
		return err
	}
	r.next.fresh[s.Name] = set
	return nil
}

// setDelta receives a change of a set that was received whole in this commit, or of one that the consumer has.
func (r *reader) setDelta(body []byte) error {
	var head struct {
		Name  string `cbor:"1,keyasint"`
		Count int    `cbor:"6,keyasint,omitempty"`
	}
	if err := decodeBody(body, &head); err != nil {
		return fmt.Errorf("change of a set: %w", err)
	}
	set, err := r.next.fresh[head.Name], error(nil)
	if set != nil {
		set, err = set.WithEncoded(body)
		r.next.fresh[head.Name] = set
	} else {
		set, err = r.changeHeld(head.Name, body)
	}
	if err == nil && head.Count != 0 && head.Count != set.Len() {
		err = fmt.Errorf("set %s has %d members after its change instead of %d", head.Name, set.Len(), head.Count)
	}
	return err
}

// changeHeld changes a set that the consumer has, and returns it.
func (r *reader) changeHeld(name string, body []byte) (*wire.PackedSet, error) {
	change := r.next.changed[name]
	if change == nil {
		change = &setChange{set: r.client.holding.sets[name], delta: wire.SetDelta{Name: name}}
		if change.set == nil {
			return nil, fmt.Errorf("change of set %s, which was never sent", name)
		}
		r.next.changed[name] = change
	}
	var delta wire.SetDelta
	if err := decodeBody(body, &delta); err != nil {
		return nil, fmt.Errorf("change of set %s: %w", name, err)
	}
	set, err := change.set.WithEncoded(body) // fails for what is no member
	if err != nil {
		return nil, err
	}
	change.set, change.delta = set, change.delta.Then(delta)
	return set, nil
}

// deliver completes the commit, hands it to the consumer and notes that the consumer has it.
func (r *reader) deliver(ctx context.Context, mark commitMark) error {
	if r.welcome == nil {
		return errors.New("typha sent a commit before its welcome")
	}
	c := r.client
	commit := r.complete(mark)
	select {
	case c.commits <- commit:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.holding.delivered(r.next, commit)
	r.next = newCommit()
	if mark.InSync && !r.inSync {
		r.inSync = true
		c.opts.Syncing(InSync)
	}
	return nil
}

// complete returns the commit of what was received until the mark.
func (r *reader) complete(mark commitMark) wire.Commit {
	holding := &r.client.holding
	commit := r.next.Commit
	commit.Datastore = r.welcome.Datastore
	commit.Versions = holding.versions
	if holding.datastore != "" && commit.Datastore != "" && holding.datastore != commit.Datastore {
		commit.Versions = map[string]string{} // the server has ignored those of another datastore
	}
	if len(mark.Versions) > 0 {
		commit.Versions = maps.Clone(commit.Versions)
		maps.Copy(commit.Versions, mark.Versions)
	}
	for _, set := range r.next.fresh {
		commit.Upserts = append(commit.Upserts, set.Unpack())
	}
	slices.SortFunc(commit.Upserts, func(a, b wire.Object) int { return a.ID().Compare(b.ID()) })
	for _, name := range slices.Sorted(maps.Keys(r.next.changed)) {
		commit.Sets = append(commit.Sets, r.next.changed[name].delta)
	}
	commit.Number, commit.InSync = holding.number+1, mark.InSync
	return commit
}
