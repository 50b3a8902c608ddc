package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/maneki-net/maneki/typha/wire"
)

// reader gathers one connection's frames into commits. It is the goroutine's of Client.Run.
type reader struct {
	client  *Client
	up      *call
	served  func()   // called once, with the welcome; may be nil
	renew   func()   // begins to present renewed tokens; nil once it has
	welcome *welcome // nil before it came
	inSync  bool     // a commit was delivered with which the consumer is in sync
	commit  wire.Commit
	hashes  map[wire.ID]wire.Hash
	// fresh are the sets that came whole, changed those that the consumer has and of which changes came.
	fresh   map[string]*wire.PackedSet
	changed map[string]*setChange
}

func newReader(c *Client, up *call) reader {
	return reader{client: c, up: up, hashes: map[wire.ID]wire.Hash{}, fresh: map[string]*wire.PackedSet{}, changed: map[string]*setChange{}}
}

type setChange struct {
	set   *wire.PackedSet
	delta wire.SetDelta
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
		r.commit.Deletes = append(r.commit.Deletes, id)
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

// greeted reads a welcome.
func greeted(body []byte) (welcome, error) {
	var w welcome
	if err := decodeBody(body, &w); err != nil {
		return w, fmt.Errorf("welcome: %w", err)
	}
	if w.Version < ProtocolVersion-1 || w.Version > ProtocolVersion+1 {
		return w, fmt.Errorf("typha speaks protocol version %d, only %d and its neighbours are understood", w.Version, ProtocolVersion)
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
		r.fresh[set.Name] = set
		return nil
	}
	o, err := wire.DecodeObject(b.Kind, b.Data)
	switch {
	case errors.Is(err, wire.ErrUnknownKind):
		r.client.log.Debug("object of a later release passed over", "kind", b.Kind.String())
		return nil
	case err != nil:
		return err
	}
	r.hashes[o.ID()] = wire.HashOf(b.Data)
	r.commit.Upserts = append(r.commit.Upserts, o)
	return nil
}

// setPieces takes a set of which the consumer has another version.
func (r *reader) setPieces(body []byte) error {
	var s wire.SetPieces
	if err := decodeBody(body, &s); err != nil {
		return fmt.Errorf("pieces of a set: %w", err)
	}
	held := r.client.sets[s.Name]
	if held == nil {
		return fmt.Errorf("pieces of set %s, which is not held", s.Name)
	}
	set, err := s.Assemble(held)
	if err != nil {
		delete(r.client.sets, s.Name) // it comes whole after the next hello
		return err
	}
	r.fresh[s.Name] = set
	return nil
}

// setDelta changes a set that came whole in this commit, or one that the consumer has.
func (r *reader) setDelta(body []byte) error {
	var head struct {
		Name  string `cbor:"1,keyasint"`
		Count int    `cbor:"6,keyasint,omitempty"`
	}
	if err := decodeBody(body, &head); err != nil {
		return fmt.Errorf("change of a set: %w", err)
	}
	set, err := r.fresh[head.Name], error(nil)
	if set != nil {
		set, err = set.WithEncoded(body)
		r.fresh[head.Name] = set
	} else {
		set, err = r.changeHeld(head.Name, body)
	}
	if err == nil && head.Count != 0 && head.Count != set.Len() {
		err = fmt.Errorf("set %s has %d members after its change instead of %d", head.Name, set.Len(), head.Count)
	}
	return err
}

func (r *reader) changeHeld(name string, body []byte) (*wire.PackedSet, error) {
	change := r.changed[name]
	if change == nil {
		change = &setChange{set: r.client.sets[name], delta: wire.SetDelta{Name: name}}
		if change.set == nil {
			return nil, fmt.Errorf("change of set %s, which was never sent", name)
		}
		r.changed[name] = change
	}
	var delta wire.SetDelta
	if err := decodeBody(body, &delta); err != nil {
		return nil, fmt.Errorf("change of set %s: %w", name, err)
	}
	set, err := change.set.WithEncoded(body) // which refuses what is no member
	if err != nil {
		return nil, err
	}
	change.set, change.delta = set, change.delta.Then(delta)
	return set, nil
}

// deliver hands the gathered commit to the consumer and notes that it now has it.
func (r *reader) deliver(ctx context.Context, mark commitMark) error {
	if r.welcome == nil {
		return errors.New("typha sent a commit before its welcome")
	}
	c := r.client
	versions, datastore := c.versions, r.welcome.Datastore
	if c.datastore != "" && datastore != "" && c.datastore != datastore {
		versions = map[string]string{} // which the server has not looked at
	}
	if len(mark.Versions) > 0 {
		versions = maps.Clone(versions)
		maps.Copy(versions, mark.Versions)
	}
	for _, set := range r.fresh {
		r.commit.Upserts = append(r.commit.Upserts, set.Unpack())
	}
	slices.SortFunc(r.commit.Upserts, func(a, b wire.Object) int { return compareIDs(a.ID(), b.ID()) })
	for _, name := range slices.Sorted(maps.Keys(r.changed)) {
		r.commit.Sets = append(r.commit.Sets, r.changed[name].delta)
	}
	r.commit.Number, r.commit.InSync, r.commit.Versions = c.number+1, mark.InSync, versions
	r.commit.Datastore = datastore
	select {
	case c.commits <- r.commit:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.number++
	if mark.InSync && !r.inSync {
		r.inSync = true
		c.opts.Syncing(InSync)
	}
	c.versions, c.datastore = versions, datastore
	maps.Copy(c.held, r.hashes)
	maps.Copy(c.sets, r.fresh)
	for name, change := range r.changed {
		c.sets[name] = change.set
	}
	for _, id := range r.commit.Deletes {
		delete(c.held, id)
		if id.Kind == wire.KindIPSet {
			delete(c.sets, id.Name)
		}
	}
	welcome, inSync, renew := r.welcome, r.inSync, r.renew
	*r = newReader(c, r.up)
	r.welcome, r.inSync, r.renew = welcome, inSync, renew
	return nil
}
