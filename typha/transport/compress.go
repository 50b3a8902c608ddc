package transport

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/maneki-net/maneki/typha/wire"
)

// worthCompressing is the size in octets below which frames are sent uncompressed.
const worthCompressing = 512

// maxInflated bounds what one compressed frame may hold, in octets.
const maxInflated = 64 << 20

// partCache is a cache of compressed parts of snapshots, so that another node that joins costs only the sending. A part
// leaves the cache when it was not used while about generationSize of other parts were added. It is safe for concurrent
// use.
type partCache struct {
	mu         sync.Mutex
	young, old map[any]*part
	size       int // of young, in octets
}

// part is one frame of type frameDeflate, or the frames themselves if that is not smaller.
type part struct {
	once  sync.Once
	frame []byte
	raw   int // octets of what is in it
	err   error
}

// generationSize is about half of the size of the cache, in octets.
const generationSize = 16 << 20

func newPartCache() *partCache {
	return &partCache{young: map[any]*part{}, old: map[any]*part{}}
}

// get returns the part of a key, and reports whether it was in the cache. If not, it is made of frames.
func (c *partCache) get(key any, frames func() ([]byte, error)) (p *part, reused bool) {
	c.mu.Lock()
	p, reused = c.young[key]
	if !reused {
		p, reused = c.old[key]
		if !reused {
			p = &part{}
		}
		c.young[key] = p
	}
	c.mu.Unlock()
	p.once.Do(func() {
		var data []byte
		data, p.err = frames()
		if p.err == nil {
			p.raw = len(data)
			p.frame, p.err = deflate(data)
		}
	})
	if !reused {
		c.grow(len(p.frame))
	}
	return p, reused
}

// grow counts a new part. When there are enough, it begins a new generation, and drops the one before the last.
func (c *partCache) grow(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size += n
	if c.size > generationSize {
		c.young, c.old, c.size = map[any]*part{}, c.young, 0
	}
}

var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// deflate returns a frame with the compressed frames, or the frames if that is not smaller.
func deflate(frames []byte) ([]byte, error) {
	if len(frames) < worthCompressing {
		return frames, nil
	}
	var out bytes.Buffer
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&out)
	if _, err := w.Write(frames); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	encoded, err := encodeFrame(frameDeflate, out.Bytes())
	if err != nil || len(encoded) >= len(frames) {
		return frames, err
	}
	return encoded, nil
}

// inflate returns the frames that are compressed in the body of a frame.
func inflate(body []byte) ([]byte, error) {
	var data []byte
	if err := decodeBody(body, &data); err != nil {
		return nil, fmt.Errorf("decode compressed frame: %w", err)
	}
	frames, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(data)), maxInflated+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("inflate: %w", err)
	case len(frames) > maxInflated:
		return nil, errors.New("inflate: the frames are too large")
	}
	return frames, nil
}

// pieceKey names a compressed piece of an IP set by its content.
type pieceKey struct {
	set  string
	hash wire.Hash
}
