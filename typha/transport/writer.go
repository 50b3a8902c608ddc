package transport

import (
	"time"

	"google.golang.org/grpc"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// messageWriter sends batches in messages of a bounded size. Messages of several writers share octets. It is for one
// goroutine.
type messageWriter struct {
	stream   grpc.ServerStream
	metrics  *Metrics
	cache    *partCache
	lacks    wire.Features     // of the node
	compared func()            // called when what the node holds is not needed any more; may be nil
	versions map[string]string // that were sent last

	parts  [][]byte
	frames int // in parts
	size   int // of parts, in octets

	raw, total int // octets of the present batch, before and after compression
}

// batch sends one batch whole.
func (w *messageWriter) batch(b hub.Batch) error {
	w.raw, w.total = 0, 0
	if w.lacks&wire.FeatureDeflate == 0 {
		if err := w.catalog(&b); err != nil {
			return err
		}
	}
	if err := b.Resolve(w.lacks); err != nil {
		return err
	}
	if w.compared != nil {
		w.compared()
	}
	if err := w.changes(&b); err != nil {
		return err
	}
	mark := commitMark{Number: b.Number, InSync: true, Versions: changedVersions(w.versions, b.Versions)}
	if err := w.addFrame(frameCommit, mark); err != nil {
		return err
	}
	w.versions = b.Versions
	return w.flush()
}

// catalog sends the part of a first batch that it can share with the batches of other nodes.
func (w *messageWriter) catalog(b *hub.Batch) error {
	before, shelves := b.TakeCatalog()
	for _, o := range before {
		if err := w.object(o); err != nil {
			return err
		}
	}
	for _, shelf := range shelves {
		p, reused := w.cache.get(shelf, func() ([]byte, error) { return framesOf(shelf, w.lacks) })
		if err := w.part(p, reused, len(shelf.Objects())); err != nil {
			return err
		}
	}
	return nil
}

// framesOf returns the frames of all objects of a shelf. Every release understands these objects, so the frames do not
// depend on what the node lacks.
func framesOf(shelf *hub.Shelf, lacks wire.Features) ([]byte, error) {
	var all []byte
	for _, o := range shelf.Objects() {
		frame, err := o.Frame(lacks, frameOf)
		if err != nil {
			return nil, err
		}
		all = append(all, frame...)
	}
	return all, nil
}

// changes adds the frames of a batch, in the order of the kinds of objects.
func (w *messageWriter) changes(b *hub.Batch) error {
	sets := b.Sets
	for _, o := range b.Upserts {
		for len(sets) > 0 && o.ID().Kind > wire.KindIPSet {
			if err := w.setChange(sets[0]); err != nil {
				return err
			}
			sets = sets[1:]
		}
		if err := w.upsert(o, b.Pieces[o.ID().Name]); err != nil {
			return err
		}
	}
	for _, set := range sets {
		if err := w.setChange(set); err != nil {
			return err
		}
	}
	for _, id := range b.Deletes {
		if err := w.addFrame(frameDelete, id); err != nil {
			return err
		}
	}
	return nil
}

// upsert adds an object; of an IP set, only the pieces that the node does not hold.
func (w *messageWriter) upsert(o *hub.Object, held []byte) error {
	set, ok := o.Value().(*wire.PackedSet)
	if !ok || len(held) == 0 {
		return w.object(o)
	}
	pieces, useful := set.Against(held)
	if !useful {
		return w.object(o)
	}
	return w.addFrame(frameSetPieces, pieces)
}

// object adds an object whole. It adds nothing if the node does not get the object.
func (w *messageWriter) object(o *hub.Object) error {
	const needed = wire.FeatureSetDelta | wire.FeatureDeflate
	set, ok := o.Value().(*wire.PackedSet)
	if ok && set.Size() >= worthCompressing && w.lacks&needed == 0 {
		return w.largeSet(set)
	}
	frame, err := o.Frame(w.lacks, frameOf)
	if err != nil || frame == nil {
		return err
	}
	return w.add(1, frame)
}

// largeSet adds an IP set as an empty one, and the pieces that fill it. Each piece is compressed once for all nodes.
func (w *messageWriter) largeSet(set *wire.PackedSet) error {
	data, err := wire.Encode(&wire.IPSet{Name: set.Name, Type: set.Type})
	if err != nil {
		return err
	}
	if err := w.addFrame(frameObject, objectBody{Kind: wire.KindIPSet, Data: data}); err != nil {
		return err
	}
	for piece := range set.Pieces() {
		p, reused := w.cache.get(pieceKey{set.Name, piece.Hash}, func() ([]byte, error) {
			return frameOfStep(piece.Delta(), 0)
		})
		if err := w.part(p, reused, 1); err != nil {
			return err
		}
	}
	return nil
}

// setChange adds the changes of an IP set that the node has, or the set if the node does not understand changes.
func (w *messageWriter) setChange(s hub.SetChange) error {
	if w.lacks&wire.FeatureSetDelta != 0 {
		return w.object(s.Object)
	}
	for _, step := range s.Steps {
		frame, err := step.Frame(frameOfStep)
		if err != nil {
			return err
		}
		if err := w.add(1, frame); err != nil {
			return err
		}
	}
	return nil
}

// changedVersions returns the versions that differ from those before.
func changedVersions(before, now map[string]string) map[string]string {
	var changed map[string]string
	for kind, version := range now {
		if before[kind] != version {
			if changed == nil {
				changed = map[string]string{}
			}
			changed[kind] = version
		}
	}
	return changed
}

// part adds a part from the cache, which holds so many frames.
func (w *messageWriter) part(p *part, reused bool, frames int) error {
	if p.err != nil {
		return p.err
	}
	if reused {
		w.metrics.reused.Inc()
	}
	w.raw += p.raw - len(p.frame)
	return w.add(frames, p.frame)
}

func (w *messageWriter) addFrame(kind int, body any) error {
	encoded, err := encodeFrame(kind, body)
	if err != nil {
		return err
	}
	return w.add(1, encoded)
}

// add adds octets that hold so many frames. It sends the message when that is large enough.
func (w *messageWriter) add(frames int, octets []byte) error {
	w.parts = append(w.parts, octets)
	w.frames += frames
	w.size += len(octets)
	w.total += len(octets)
	w.raw += len(octets)
	if w.size < messageSize {
		return nil
	}
	return w.flush()
}

// flush sends what was added.
func (w *messageWriter) flush() error {
	if len(w.parts) == 0 {
		return nil
	}
	start := time.Now()
	err := w.stream.SendMsg(w.parts)
	w.metrics.writeLatency.Observe(time.Since(start).Seconds())
	w.metrics.perMessage.Observe(float64(w.frames))
	w.parts, w.frames, w.size = nil, 0, 0 // the transport may still read the old slice
	return err
}
