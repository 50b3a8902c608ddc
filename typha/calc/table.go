package calc

import "hash/maphash"

// table finds values by a key that each of them holds. It takes some 25 octets for each, whatever the key is; a map
// would keep every key a second time. Make it with newTable.
type table[K, V comparable] struct {
	key   func(V) K
	hash  func(K) uint64
	first map[uint64]V
	more  map[uint64][]V // of the keys whose hash another one has already
}

func newTable[K, V comparable](seed maphash.Seed, key func(V) K) table[K, V] {
	return table[K, V]{key: key, hash: func(k K) uint64 { return maphash.Comparable(seed, k) }, first: map[uint64]V{}, more: map[uint64][]V{}}
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
func (t *table[K, V]) add(v V) {
	hash := t.hash(t.key(v))
	if _, taken := t.first[hash]; taken {
		t.more[hash] = append(t.more[hash], v)
		return
	}
	t.first[hash] = v
}

// remove removes a value, if it is there.
func (t *table[K, V]) remove(v V) {
	hash := t.hash(t.key(v))
	others := t.more[hash]
	switch {
	case t.first[hash] != v:
		others = without(others, v)
	case len(others) == 0:
		delete(t.first, hash)
		return
	default:
		t.first[hash], others = others[0], others[1:]
	}
	if t.more[hash] = others; len(others) == 0 {
		delete(t.more, hash)
	}
}

func (t *table[K, V]) size() int {
	n := len(t.first)
	for _, others := range t.more {
		n += len(others)
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
		for _, v := range others {
			if !yield(v) {
				return
			}
		}
	}
}
