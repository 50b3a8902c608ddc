// Package sysctl is the driver of kernel settings under /proc/sys.
//
// It writes only what differs and only the keys it was given. A key that is no longer desired keeps its value: what it
// was before is not known. The agent's goroutine calls it.
package sysctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/reconcile"
)

// Kernel reads and writes settings by key. The error for a key that does not exist wraps fs.ErrNotExist. A Dir is one.
type Kernel interface {
	ReadSetting(key string) (string, error)
	WriteSetting(key, value string) error
}

// Settings is the driver.
type Settings struct {
	kernel Kernel
	loop   *reconcile.Loop[string, string]
	// keys holds the desired keys of each network device, and indexes the devices that events were about.
	keys    map[string]map[string]bool
	indexes map[string]int
}

// New returns a driver that desires nothing.
func New(kernel Kernel) *Settings {
	s := &Settings{kernel: kernel, keys: map[string]map[string]bool{}, indexes: map[string]int{}}
	s.loop = reconcile.New(target{kernel}, reconcile.Config[string, string]{
		Equal: func(a, b string) bool { return a == b }, Compare: strings.Compare, Effect: s.effect,
	})
	s.loop.Complete() // nothing is ever deleted
	return s
}

// deviceOf returns the network device that a key is about, as in net/ipv4/conf/DEVICE/rp_filter, or "".
func deviceOf(key string) string {
	parts := strings.Split(key, "/")
	if len(parts) == 5 && parts[0] == "net" && (parts[2] == "conf" || parts[2] == "neigh") {
		return parts[3]
	}
	return ""
}

// normal returns a value with single spaces, as fields may be separated by tabs.
func normal(value string) string { return strings.Join(strings.Fields(value), " ") }

// Set makes a value desired. The key is a path with slashes, since a device's name may contain dots:
// "net/ipv4/conf/vxlan.calico/rp_filter".
func (s *Settings) Set(key, value string) {
	s.loop.Set(key, normal(value))
	if d := deviceOf(key); d != "" {
		if s.keys[d] == nil {
			s.keys[d] = map[string]bool{}
		}
		s.keys[d][key] = true
	}
}

// Remove makes a key not desired; its value stays as it is.
func (s *Settings) Remove(key string) {
	s.loop.Remove(key)
	s.loop.Forget(key)
	d := deviceOf(key)
	delete(s.keys[d], key)
	if len(s.keys[d]) == 0 {
		delete(s.keys, d)
		delete(s.indexes, d)
	}
}

// RemoveDevice removes every key of a network device.
func (s *Settings) RemoveDevice(device string) {
	for key := range s.keys[device] {
		s.Remove(key)
	}
}

// InPlace reports whether every key of a network device has been read or written and is as desired.
func (s *Settings) InPlace(device string) bool {
	for key := range s.keys[device] {
		if !s.loop.InPlace(key) {
			return false
		}
	}
	return true
}

// Read returns what the kernel has for a key now.
func (s *Settings) Read(key string) (string, error) {
	value, err := s.kernel.ReadSetting(key)
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", key, err)
	}
	return normal(value), nil
}

// Name is "sysctl".
func (s *Settings) Name() string { return "sysctl" }

// Resync makes the next Apply read every desired key back.
func (s *Settings) Resync() { s.loop.Resync() }

// Observe takes link events: a device that came back has lost its settings.
func (s *Settings) Observe(e dataplane.Event) bool { return s.loop.Observe(e) }

func (s *Settings) effect(e dataplane.Event) reconcile.Effect {
	same := !e.Deleted && s.indexes[e.Device] == e.Index
	if e.Kind != dataplane.EventLink || s.keys[e.Device] == nil || same {
		return reconcile.None
	}
	for key := range s.keys[e.Device] {
		s.loop.Forget(key)
	}
	if e.Deleted {
		delete(s.indexes, e.Device)
		return reconcile.None // there is nothing to write to
	}
	s.indexes[e.Device] = e.Index
	return reconcile.Retry
}

// Apply writes what differs. The error for a key that does not exist, for example because its device has not been made
// yet, wraps fs.ErrNotExist, and the next Apply tries again.
func (s *Settings) Apply(ctx context.Context) error { return s.loop.Apply(ctx) }

// target reads and writes one key at a time.
type target struct{ kernel Kernel }

// List returns nothing: Update reads each key before it writes.
func (target) List(context.Context) (map[string]string, error) { return nil, nil }

// Update writes a value that differs.
func (t target) Update(_ context.Context, c reconcile.Change[string, string]) error {
	have, err := t.kernel.ReadSetting(c.Key)
	if err == nil && normal(have) != c.Desired {
		err = t.kernel.WriteSetting(c.Key, c.Desired)
	}
	if err != nil {
		return reconcile.Unchanged(fmt.Errorf("sysctl %s: %w", c.Key, err)) // no other key is in doubt
	}
	return nil
}

// Delete leaves the value as it is.
func (target) Delete(context.Context, reconcile.Change[string, string]) error { return nil }
