package stream

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/maneki-net/maneki/typha/wire"
)

// messageWriter turns batches into messages of a bounded size, of which the octets are shared with other writers.
type messageWriter struct {
	stream  grpc.ServerStream
	metrics *Metrics
	cache   *compressed
	lacks   wire.Features
	settled func()            // called when what the node held is not needed any more
	sent    map[string]string // the versions that the node was told

	parts  [][]byte
	frames int // in parts
	size   int // of parts, in octets

	raw, total int // of the present batch, before and after compression
}

// batch sends one batch whole.
func (w *messageWriter) batch(b batch) error {
	w.raw, w.total = 0, 0
	if b.first != nil && len(b.first.held) == 0 && w.lacks&wire.FeatureDeflate == 0 {
		if err := w.catalog(&b); err != nil {
			return err
		}
	}
	if err := b.resolve(w.lacks); err != nil {
		return err
	}
	if w.settled != nil {
		w.settled()
	}
	b.order()
	sets := b.sets
	for _, o := range b.upserts {
		for len(sets) > 0 && o.id.Kind > wire.KindIPSet {
			if err := w.steps(sets[0]); err != nil {
				return err
			}
			sets = sets[1:]
		}
		if err := w.upsert(o, b.pieces[o.id.Name]); err != nil {
			return err
		}
	}
	for _, set := range sets {
		if err := w.steps(set); err != nil {
			return err
		}
	}
	for _, id := range b.deletes {
		if err := w.addFrame(frameDelete, id); err != nil {
			return err
		}
	}
	mark := commitMark{Number: b.number, InSync: true, Versions: changedVersions(w.sent, b.versions)}
	if err := w.addFrame(frameCommit, mark); err != nil {
		return err
	}
	w.sent = b.versions
	return w.flush()
}

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

// catalog sends what every node needs to one that holds nothing, and takes it out of the batch. What comes before it in
// the order of kinds is the node's own configuration.
func (w *messageWriter) catalog(b *batch) error {
	own := slices.DeleteFunc(b.first.own, func(o *object) bool {
		if o.id.Kind == wire.KindConfig {
			b.upserts = append(b.upserts, o)
			return true
		}
		return false
	})
	for _, o := range b.upserts {
		if err := w.object(o); err != nil {
			return err
		}
	}
	for _, shelf := range b.first.catalog {
		p, reused := w.cache.get(shelf, func() ([]byte, error) { return shelf.encoded(w.lacks) })
		if err := w.part(p, reused, len(shelf.objects)); err != nil {
			return err
		}
	}
	b.upserts, b.first.own, b.first.catalog = nil, own, nil
	return nil
}

// encoded returns the frames of all objects. What every node needs, every release understands.
func (s *shelf) encoded(lacks wire.Features) ([]byte, error) {
	var all []byte
	for _, o := range s.objects {
		f, err := o.encoded(lacks)
		if err != nil {
			return nil, err
		}
		all = append(all, f.frame...)
	}
	return all, nil
}

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

// upsert sends an object; of an IP set, only the pieces that the node does not hold.
func (w *messageWriter) upsert(o *object, held []byte) error {
	set, ok := o.value.(*wire.PackedSet)
	if !ok || len(held) == 0 {
		return w.object(o)
	}
	pieces, useful := set.Against(held)
	if !useful {
		return w.object(o)
	}
	return w.addFrame(frameSetPieces, pieces)
}

// object sends an object whole.
func (w *messageWriter) object(o *object) error {
	if set, ok := o.value.(*wire.PackedSet); ok {
		return w.set(set)
	}
	f, err := o.encoded(w.lacks)
	if err != nil || f.frame == nil {
		return err
	}
	return w.add(1, f.frame)
}

// set sends an IP set: an empty one and then, each compressed once for all nodes, the pieces that fill it; or one
// object, without a copy of the members, if it is small or the node understands nothing else.
func (w *messageWriter) set(set *wire.PackedSet) error {
	const needed = wire.FeatureSetDelta | wire.FeatureDeflate
	if set.Size() < worthCompressing || w.lacks&needed != 0 {
		parts := set.Encoded()
		size := 0
		for _, p := range parts {
			size += len(p)
		}
		head := slices.Concat([]byte{cborPair, frameObject, cborMapOfTwo, 1, byte(wire.KindIPSet), 2}, octetsHead(size))
		return w.add(1, slices.Insert(parts, 0, head)...)
	}
	data, err := wire.Encode(&wire.IPSet{Name: set.Name, Type: set.Type})
	if err != nil {
		return fmt.Errorf("encode set %s: %w", set.Name, err)
	}
	if err := w.addFrame(frameObject, objectBody{Kind: wire.KindIPSet, Data: data}); err != nil {
		return err
	}
	for piece := range set.Pieces() {
		p, reused := w.cache.get(pieceKey{set.Name, piece.Hash}, func() ([]byte, error) {
			return bytes.Join([][]byte{{cborPair, frameSetDelta}, piece.Head, piece.Members}, nil), nil
		})
		if err := w.part(p, reused, 1); err != nil {
			return err
		}
	}
	return nil
}

// The heads of a CBOR array of two and of a map of two pairs.
const (
	cborPair     = 0x82
	cborMapOfTwo = 0xa2
)

// octetsHead returns the head of a CBOR octet string.
func octetsHead(n int) []byte {
	head, _ := wire.Encode(uint64(n)) // a number always encodes
	head[0] |= 0x40
	return head
}

// steps sends the changes of a set that the node has, or the set if it does not understand changes.
func (w *messageWriter) steps(s setSteps) error {
	if w.lacks&wire.FeatureSetDelta != 0 {
		return w.object(s.object)
	}
	for _, step := range s.steps {
		encoded, err := step.encoded()
		if err != nil {
			return err
		}
		if err := w.add(1, encoded); err != nil {
			return err
		}
	}
	return nil
}

func (w *messageWriter) addFrame(kind int, body any) error {
	encoded, err := encodeFrame(kind, body)
	if err != nil {
		return err
	}
	return w.add(1, encoded)
}

// add appends frames, which are given in any number of parts.
func (w *messageWriter) add(frames int, parts ...[]byte) error {
	w.parts = append(w.parts, parts...)
	w.frames += frames
	for _, p := range parts {
		w.size += len(p)
		w.total += len(p)
		w.raw += len(p)
	}
	if w.size < messageSize {
		return nil
	}
	return w.flush()
}

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
