package calc

import (
	"hash/maphash"
	"slices"
)

// hashed holds values by hashes. Nearly always only one has a hash.
type hashed[V comparable] struct {
	first map[uint64]V
	more  map[uint64][]V // of the hashes that another one has already
}

func newHashed[V comparable]() hashed[V] {
	return hashed[V]{first: map[uint64]V{}, more: map[uint64][]V{}}
}

func (h *hashed[V]) put(hash uint64, v V) {
	if _, taken := h.first[hash]; taken {
		h.more[hash] = append(h.more[hash], v)
		return
	}
	h.first[hash] = v
}

// take takes a value out, if it is there.
func (h *hashed[V]) take(hash uint64, v V) {
	others := h.more[hash]
	switch {
	case h.first[hash] != v:
		others = without(others, v)
	case len(others) == 0:
		delete(h.first, hash)
		return
	default:
		last := len(others) - 1
		h.first[hash], others = others[last], others[:last]
	}
	if h.more[hash] = others; len(others) == 0 {
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

// get gives the value with a key, or the zero value.
func (t *table[K, V]) get(key K) V {
	var none V
	hash := t.hash(key)
	v, ok := t.first[hash]
	if !ok || t.key(v) == key {
		return v
	}
	for _, v := range t.more[hash] {
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

// all passes every value. None may be added meanwhile.
func (t *table[K, V]) all(yield func(V) bool) {
	for _, v := range t.first {
		if !yield(v) {
			return
		}
	}
	for _, others := range t.more {
		if slices.ContainsFunc(others, func(v V) bool { return !yield(v) }) {
			return
		}
	}
}
