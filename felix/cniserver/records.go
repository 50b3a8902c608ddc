package cniserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maneki-net/maneki/api/derive"
	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
	"github.com/maneki-net/maneki/ipam"
)

// state is how far an interface has come. A record is written before each step whose effect
// would otherwise be forgotten by a crash.
type state string

const (
	stateAdding   state = "adding"   // an address may be assigned, an interface may exist
	stateReady    state = "ready"    // ADD has answered
	stateDeleting state = "deleting" // to be removed, the address to be released
)

// record is what is kept on disk of one pod's interface. A record in the store is not modified:
// a new one takes its place.
type record struct {
	Network     string       `json:"network"` // the network configuration's name
	ContainerID string       `json:"containerID"`
	IfName      string       `json:"ifName"`
	NetNS       string       `json:"netns,omitempty"` // as the runtime gave it
	Namespace   string       `json:"namespace"`
	Pod         string       `json:"pod"`
	UID         string       `json:"uid,omitempty"`
	HostIface   string       `json:"hostIface"`
	MAC         string       `json:"mac,omitempty"`
	MTU         int          `json:"mtu,omitempty"`
	Addrs       []netip.Addr `json:"addrs,omitempty"`
	State       state        `json:"state"`

	// released is closed when the queued release of the addresses is done; nil when none is queued.
	released <-chan struct{}
}

// handle is the name in IPAM of the pod's addresses, in Calico's form.
func (r record) handle() string { return r.Network + "." + r.ContainerID }

func (r record) key() attachment { return attachment{r.ContainerID, r.IfName} }

// pod returns the key of the pod, the same for all its sandboxes. The interface name is a hash, which two pods may
// share.
func (r record) pod() string { return r.Namespace + "/" + r.Pod }

// attributes returns the IPAM attributes of the pod's addresses.
func (r record) attributes() map[string]string {
	return map[string]string{ipam.AttrNamespace: r.Namespace, ipam.AttrPod: r.Pod, ipam.AttrUID: r.UID,
		ipam.AttrTimestamp: time.Now().UTC().Format(time.RFC3339)}
}

func (r record) workload() Workload {
	return Workload{Namespace: r.Namespace, Pod: r.Pod, UID: r.UID, ContainerID: r.ContainerID,
		HostIface: r.HostIface, MAC: r.mac(), Addrs: r.Addrs}
}

// pair returns the interface as the record says it is.
func (r record) pair(netns *os.File) veth.Pair {
	return veth.Pair{Host: r.HostIface, Netns: netns, Pod: r.IfName, MTU: r.MTU, Addrs: r.Addrs, MAC: r.mac()}
}

func (r record) mac() net.HardwareAddr {
	mac, _ := net.ParseMAC(r.MAC) // nil until the interface exists
	return mac
}

// attachment is what the runtime calls an interface by.
type attachment struct {
	ContainerID string
	IfName      string
}

// recordStore is the records in memory and on disk, one file each. It is safe for concurrent use;
// who changes the record of a pod holds that pod's lock.
//
// Files are not synced. A crash of Felix loses nothing by that; after a power failure no pod of before runs,
// and addresses whose record was lost are released by kube-controllers.
type recordStore struct {
	dir string

	mu      sync.Mutex // guards records
	records map[attachment]record
}

func openRecords(dir string, log *slog.Logger) (*recordStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	s := &recordStore{dir: dir, records: map[attachment]record{}}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if !strings.HasSuffix(path, ".json") {
			_ = os.Remove(path) // a temporary file of a process that died; harmless if it stays
			continue
		}
		var r record
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read record: %w", err)
		}
		if err := json.Unmarshal(body, &r); err != nil || r.path(dir) != path {
			log.Warn("record of a pod interface is damaged and ignored", "path", path, "error", err)
			continue
		}
		s.records[r.key()] = r
	}
	return s, nil
}

func (r record) path(dir string) string {
	return filepath.Join(dir, protocol.SpoolName(r.ContainerID, r.IfName))
}

func (s *recordStore) get(key attachment) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, found := s.records[key]
	return r, found
}

// all returns the records in the order of their host interfaces.
func (s *recordStore) all() []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.records), func(a, b record) int {
		return strings.Compare(a.HostIface+a.ContainerID, b.HostIface+b.ContainerID)
	})
}

func (s *recordStore) put(r record) error {
	if err := s.write(r); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[r.key()] = r
	return nil
}

func (s *recordStore) write(r record) error {
	body, err := json.Marshal(r)
	if err == nil {
		err = protocol.WriteFileAtomic(r.path(s.dir), body, 0o600)
	}
	if err != nil {
		return fmt.Errorf("record interface of pod %s: %w", r.pod(), err)
	}
	return nil
}

// reserve stores the record of an ADD, as put does, and sets the name of the host's end. A repeated ADD keeps the name
// that it had. A new one gets the pod's name, which is the same as Calico's. If another pod has that name, because
// their hashes are equal, it gets the next free one.
func (s *recordStore) reserve(r record) (record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if former, repeated := s.records[r.key()]; repeated && former.pod() == r.pod() {
		r.HostIface, r.MAC = former.HostIface, former.MAC // the interface may stay
	} else {
		r.HostIface = derive.HostInterface(r.Namespace, r.Pod)
		for i := 1; s.isOthers(r); i++ {
			r.HostIface = derive.HostInterface(r.Namespace, fmt.Sprintf("%s/%d", r.Pod, i)) // no pod's name
		}
	}
	if err := s.write(r); err != nil {
		return r, err
	}
	s.records[r.key()] = r
	return r, nil
}

// isOthers reports whether another pod has a record's host interface.
func (s *recordStore) isOthers(r record) bool {
	for _, other := range s.records {
		if other.HostIface == r.HostIface && other.pod() != r.pod() {
			return true
		}
	}
	return false
}

func (s *recordStore) remove(r record) error {
	if err := os.Remove(r.path(s.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove record of pod %s/%s: %w", r.Namespace, r.Pod, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, r.key())
	return nil
}

// keyedLocks is a mutex for each key in use. The zero value is ready.
type keyedLocks struct {
	mu    sync.Mutex // guards locks
	locks map[string]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int // guarded by keyedLocks.mu
}

// lock waits for the key's lock and gives what unlocks it.
func (k *keyedLocks) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*keyedLock{}
	}
	l := k.locks[key]
	if l == nil {
		l = &keyedLock{}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		l.users--
		if l.users == 0 {
			delete(k.locks, key)
		}
	}
}
