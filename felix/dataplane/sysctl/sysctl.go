// Package sysctl is the driver of kernel settings under /proc/sys.
//
// It writes only what differs and only the keys it was given; a key that is no longer desired
// keeps its value, since nobody knows what it ought to be. The agent's goroutine calls it.
package sysctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/delta"
)

// Root is where the kernel shows its settings; net/ below it is of the reader's network namespace.
const Root = "/proc/sys"

// Mounted is where an unprivileged pod has the host's /proc/sys/net: runtimes make the pod's own /proc/sys read-only.
// Settings there belong to the network namespace of the process that reads or writes them, as below Root.
const Mounted = "/host/proc/sys"

// Writable returns Mounted if it exists, and Root otherwise.
func Writable() string {
	if _, err := os.Stat(Mounted + "/net"); err == nil {
		return Mounted
	}
	return Root
}

// Settings is the driver.
type Settings struct {
	root   string
	values *delta.Map[string, string] // a key without an actual value has not been read
	// keys holds the keys of each network device, and indexes the devices that events told of.
	keys    map[string]map[string]bool
	indexes map[string]int
}

// New returns a driver of the settings below root. root is the result of Writable, except in tests.
func New(root string) *Settings {
	return &Settings{
		root:    root,
		values:  delta.New[string](func(a, b string) bool { return a == b }),
		keys:    map[string]map[string]bool{},
		indexes: map[string]int{},
	}
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
	s.values.Set(key, normal(value))
	if d := deviceOf(key); d != "" {
		if s.keys[d] == nil {
			s.keys[d] = map[string]bool{}
		}
		s.keys[d][key] = true
	}
}

// Remove makes a key not desired; its value stays as it is.
func (s *Settings) Remove(key string) {
	s.values.Unset(key)
	s.values.Forget(key)
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
		desired, _ := s.values.Desired(key)
		if actual, known := s.values.Actual(key); !known || actual != desired {
			return false
		}
	}
	return true
}

// Read returns what the kernel has for a key now.
func (s *Settings) Read(key string) (string, error) {
	value, err := os.ReadFile(filepath.Join(s.root, key))
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	return normal(string(value)), nil
}

// Name is "sysctl".
func (s *Settings) Name() string { return "sysctl" }

// Resync makes the next Apply read every desired key back.
func (s *Settings) Resync() { s.values.Load(map[string]string{}) }

// Observe takes link events: a device that came back has lost its settings.
func (s *Settings) Observe(e dataplane.Event) bool {
	if e.Kind == dataplane.EventLost {
		s.Resync()
		return true
	}
	if e.Kind != dataplane.EventLink || s.keys[e.Device] == nil || !e.Deleted && s.indexes[e.Device] == e.Index {
		return false
	}
	for key := range s.keys[e.Device] {
		s.values.Forget(key)
	}
	if e.Deleted {
		delete(s.indexes, e.Device)
		return false // there is nothing to write to
	}
	s.indexes[e.Device] = e.Index
	return true
}

// Apply writes what differs. A key that does not exist, as of a device yet to come, is an error that
// wraps fs.ErrNotExist, and is tried again.
func (s *Settings) Apply(ctx context.Context) error {
	var errs []error
	keys, _ := s.values.Pending()
	slices.Sort(keys)
	for _, key := range keys {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := s.apply(key); err != nil {
			errs = append(errs, fmt.Errorf("sysctl %s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Settings) apply(key string) error {
	path := filepath.Join(s.root, key)
	desired, _ := s.values.Desired(key)
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if normal(string(have)) != desired {
		if err := write(path, desired); err != nil {
			return err
		}
	}
	s.values.Observe(key, desired)
	return nil
}

// write writes to a file that exists.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
