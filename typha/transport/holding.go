package transport

import (
	"maps"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// holding is what the consumer of a Client has. It is owned by the goroutine of Client.Run.
type holding struct {
	hashes    map[wire.ID]wire.Hash // of objects but IP sets
	sets      map[string]*wire.PackedSet
	versions  map[string]string // replaced, never changed
	datastore string            // of the versions
	number    uint64            // of the last commit
}

// newHolding returns what the consumer has from an earlier run.
func newHolding(opts ClientOptions) (holding, error) {
	h := holding{hashes: map[wire.ID]wire.Hash{}, sets: map[string]*wire.PackedSet{},
		versions: maps.Clone(opts.Versions), datastore: opts.Datastore}
	if h.versions == nil {
		h.versions = map[string]string{}
	}
	for id, object := range opts.Held {
		if set, ok := object.(*wire.IPSet); ok {
			h.sets[id.Name] = wire.Pack(set)
			continue
		}
		hash, err := wire.ContentHash(object)
		if err != nil {
			return h, err
		}
		h.hashes[id] = hash
	}
	return h, nil
}

// hello returns what the node says when it opens a stream.
func (h *holding) hello(opts ClientOptions) hub.Hello {
	hello := hub.Hello{Node: opts.Node, Features: opts.Features.Names(), Applied: h.versions, Datastore: h.datastore,
		Held: make([]hub.HeldObject, 0, len(h.hashes)+len(h.sets))}
	for id, hash := range h.hashes {
		hello.Held = append(hello.Held, hub.HeldObject{ID: id, Hash: hash})
	}
	for _, set := range h.sets {
		hello.Held = append(hello.Held, hub.HeldObject{ID: set.ID(), Hash: set.Hash(), Pieces: set.PieceHashes()})
	}
	return hello
}

// delivered notes that the consumer has a commit.
func (h *holding) delivered(next nextCommit, commit wire.Commit) {
	h.number, h.versions, h.datastore = commit.Number, commit.Versions, commit.Datastore
	maps.Copy(h.hashes, next.hashes)
	maps.Copy(h.sets, next.fresh)
	for name, change := range next.changed {
		h.sets[name] = change.set
	}
	for _, id := range commit.Deletes {
		delete(h.hashes, id)
		if id.Kind == wire.KindIPSet {
			delete(h.sets, id.Name)
		}
	}
}
