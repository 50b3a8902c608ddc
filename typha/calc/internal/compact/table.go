package compact

import (
	"hash/maphash"
	"slices"
)

// ByHash holds values by their hashes. Nearly always one value alone has a hash. Make it with NewByHash.
type ByHash[V comparable] struct {
	first map[uint64]V
	more  map[uint64]*Set[V] // further values with the same hash; none is empty
}

// NewByHash returns a ByHash without values.
func NewByHash[V comparable]() ByHash[V] {
	return ByHash[V]{first: map[uint64]V{}, more: map[uint64]*Set[V]{}}
}

// Put adds a value.
func (h *ByHash[V]) Put(hash uint64, v V) {
	if _, taken := h.first[hash]; !taken {
		h.first[hash] = v
		return
	}
	more := h.more[hash]
	if more == nil {
		more = &Set[V]{}
		h.more[hash] = more
	}
	more.Add(v)
}

// Drop removes a value, if it is there.
func (h *ByHash[V]) Drop(hash uint64, v V) {
	more, isFirst := h.more[hash], h.first[hash] == v
	if more == nil {
		if isFirst {
			delete(h.first, hash)
		}
		return
	}
	if isFirst {
		v = more.list[len(more.list)-1]
		h.first[hash] = v
	}
	more.Remove(v)
	if len(more.list) == 0 {
		delete(h.more, hash)
	}
}

// Any reports whether the condition holds for a value with the hash.
func (h *ByHash[V]) Any(hash uint64, holds func(V) bool) bool {
	first, is := h.first[hash]
	if !is {
		return false
	}
	return holds(first) || slices.ContainsFunc(h.others(hash), holds)
}

// others returns the values of a hash after the first.
func (h *ByHash[V]) others(hash uint64) []V {
	if more := h.more[hash]; more != nil {
		return more.list
	}
	return nil
}

// Len returns the number of values.
func (h *ByHash[V]) Len() int {
	n := len(h.first)
	for _, more := range h.more {
		n += len(more.list)
	}
	return n
}

// All iterates over the values. None may be added meanwhile.
func (h *ByHash[V]) All(yield func(V) bool) {
	for _, v := range h.first {
		if !yield(v) {
			return
		}
	}
	for _, more := range h.more {
		if slices.ContainsFunc(more.list, func(v V) bool { return !yield(v) }) {
			return
		}
	}
}

// Table finds values by a key that each of them holds. It takes about 25 bytes for each, whatever the key is; a map
// would keep every key a second time. Make it with NewTable.
type Table[K, V comparable] struct {
	ByHash[V]
	key  func(V) K
	hash func(K) uint64
}

// NewTable returns a Table without values. The key of a value must not change while the value is in the table.
func NewTable[K, V comparable](seed maphash.Seed, key func(V) K) Table[K, V] {
	return Table[K, V]{NewByHash[V](), key, func(k K) uint64 { return maphash.Comparable(seed, k) }}
}

// Get returns the value with a key, or the zero value.
func (t *Table[K, V]) Get(key K) V {
	var none V
	hash := t.hash(key)
	v, ok := t.first[hash]
	if !ok || t.key(v) == key {
		return v
	}
	for _, v := range t.others(hash) {
		if t.key(v) == key {
			return v
		}
	}
	return none
}

// Add adds a value. No other value in the table may have its key.
func (t *Table[K, V]) Add(v V) { t.Put(t.hash(t.key(v)), v) }

// Remove removes a value, if it is there.
func (t *Table[K, V]) Remove(v V) { t.Drop(t.hash(t.key(v)), v) }
