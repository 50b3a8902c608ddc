package calc

import (
	"hash/maphash"
	"slices"
)

// hashed holds values by hashes. Nearly always only one has a hash.
type hashed[V comparable] struct {
	first map[uint64]V
	more  map[uint64]*pile[V] // further values with the same hash
}

func newHashed[V comparable]() hashed[V] {
	return hashed[V]{first: map[uint64]V{}, more: map[uint64]*pile[V]{}}
}

func (h *hashed[V]) put(hash uint64, v V) {
	if _, taken := h.first[hash]; taken {
		if h.more[hash] == nil {
			h.more[hash] = &pile[V]{}
		}
		h.more[hash].add(v)
		return
	}
	h.first[hash] = v
}

// others returns the values of a hash after the first.
func (h *hashed[V]) others(hash uint64) []V {
	if more := h.more[hash]; more != nil {
		return more.list
	}
	return nil
}

// take takes a value out, if it is there.
func (h *hashed[V]) take(hash uint64, v V) {
	others, first := h.more[hash], h.first[hash] == v
	if others == nil {
		if first {
			delete(h.first, hash)
		}
		return
	}
	if first {
		v = others.list[len(others.list)-1]
		h.first[hash] = v
	}
	if others.remove(v); len(others.list) == 0 {
		delete(h.more, hash)
	}
}

// table finds values by a key that each of them holds. It takes some 25 octets for each, whatever the key is; a map
// would keep every key a second time. Make it with newTable.
type table[K, V comparable] struct {
	hashed[V]
	key  func(V) K
	hash func(K) uint64
}

func newTable[K, V comparable](seed maphash.Seed, key func(V) K) table[K, V] {
	return table[K, V]{newHashed[V](), key, func(k K) uint64 { return maphash.Comparable(seed, k) }}
}

// get returns the value with a key, or the zero value.
func (t *table[K, V]) get(key K) V {
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

// add adds a value whose key no other one has.
func (t *table[K, V]) add(v V) { t.put(t.hash(t.key(v)), v) }

// remove removes a value, if it is there.
func (t *table[K, V]) remove(v V) { t.take(t.hash(t.key(v)), v) }

// size returns the number of values.
func (h *hashed[V]) size() int {
	n := len(h.first)
	for _, others := range h.more {
		n += len(others.list)
	}
	return n
}

// all passes every value. None may be added meanwhile.
func (t *table[K, V]) all(yield func(V) bool) {
	for _, v := range t.first {
		if !yield(v) {
			return
		}
	}
	for _, others := range t.more {
		if slices.ContainsFunc(others.list, func(v V) bool { return !yield(v) }) {
			return
		}
	}
}
