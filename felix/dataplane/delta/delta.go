// Package delta keeps what is desired beside what there is, and knows which keys differ.
//
// Setting either side costs the same however much there is, and finding the difference costs what differs. It
// does no I/O; each driver owns its Maps and uses them on its own goroutine.
package delta

// Map is the two sides, by key. Invariant: a key is in pending exactly when its sides differ.
type Map[K comparable, V any] struct {
	equal   func(desired, actual V) bool
	desired map[K]V
	actual  map[K]V
	pending map[K]struct{}
	peak    int // most that pending has held
}

// small is the number of entries up to which an emptied map is used again. A larger one is replaced, because ranging
// over a map costs as much as it ever held.
const small = 64

// New returns an empty Map. equal reports whether an actual value is as good as the desired one.
func New[K comparable, V any](equal func(desired, actual V) bool) *Map[K, V] {
	return &Map[K, V]{
		equal:   equal,
		desired: map[K]V{},
		actual:  map[K]V{},
		pending: map[K]struct{}{},
	}
}

// Set makes v desired.
func (m *Map[K, V]) Set(k K, v V) {
	m.desired[k] = v
	m.compare(k)
}

// Unset makes the key not desired.
func (m *Map[K, V]) Unset(k K) {
	delete(m.desired, k)
	m.compare(k)
}

// Replace makes exactly these values desired. It keeps the map.
func (m *Map[K, V]) Replace(desired map[K]V) {
	m.desired = desired
	m.compareAll()
}

// Observe records that there is v.
func (m *Map[K, V]) Observe(k K, v V) {
	m.actual[k] = v
	m.compare(k)
}

// Forget records that there is nothing.
func (m *Map[K, V]) Forget(k K) {
	delete(m.actual, k)
	m.compare(k)
}

// Load records that there is exactly this. It keeps the map.
func (m *Map[K, V]) Load(actual map[K]V) {
	m.actual = actual
	m.compareAll()
}

// Desired returns what is desired.
func (m *Map[K, V]) Desired(k K) (V, bool) {
	v, ok := m.desired[k]
	return v, ok
}

// Actual returns what there is.
func (m *Map[K, V]) Actual(k K) (V, bool) {
	v, ok := m.actual[k]
	return v, ok
}

// AllDesired is the desired side. The caller does not change it.
func (m *Map[K, V]) AllDesired() map[K]V { return m.desired }

// AllActual is the actual side. The caller does not change it.
func (m *Map[K, V]) AllActual() map[K]V { return m.actual }

// Pending returns the keys whose sides differ, in no order: in wanted those that are desired and missing or wrong, in
// unwanted those that are there and not desired.
func (m *Map[K, V]) Pending() (wanted, unwanted []K) {
	for k := range m.pending {
		if _, ok := m.desired[k]; ok {
			wanted = append(wanted, k)
		} else {
			unwanted = append(unwanted, k)
		}
	}
	return wanted, unwanted
}

// Agrees reports whether the sides of a key do not differ.
func (m *Map[K, V]) Agrees(k K) bool {
	_, differs := m.pending[k]
	return !differs
}

// Settled reports whether nothing differs.
func (m *Map[K, V]) Settled() bool { return len(m.pending) == 0 }

func (m *Map[K, V]) compare(k K) {
	d, wanted := m.desired[k]
	a, there := m.actual[k]
	if wanted == there && (!wanted || m.equal(d, a)) {
		delete(m.pending, k)
		if len(m.pending) == 0 && m.peak > small {
			m.pending, m.peak = map[K]struct{}{}, 0
		}
	} else {
		m.pending[k] = struct{}{}
		m.peak = max(m.peak, len(m.pending))
	}
}

func (m *Map[K, V]) compareAll() {
	clear(m.pending)
	for k := range m.desired {
		m.compare(k)
	}
	for k := range m.actual {
		m.compare(k)
	}
}
