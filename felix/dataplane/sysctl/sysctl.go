// Package sysctl is the driver of kernel settings under /proc/sys.
//
// It writes only what differs and only the keys it was given; a key that is no longer desired
// keeps its value, since nobody knows what it ought to be. The agent's goroutine calls it.
package sysctl

import (
	"context"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Root is where the kernel shows its settings; net/ below it is of the reader's network namespace.
const Root = "/proc/sys"

// Settings is the driver.
type Settings struct{}

// New returns a driver of the settings below root, which is Root but for tests.
func New(root string) *Settings { return &Settings{} }

// Set makes a value desired. The key is a path with slashes, since a device's name may contain dots:
// "net/ipv4/conf/vxlan.calico/rp_filter".
func (s *Settings) Set(key, value string) {}

// Remove makes a key not desired; its value stays as it is.
func (s *Settings) Remove(key string) {}

// RemoveDevice removes every key of a network device.
func (s *Settings) RemoveDevice(device string) {}

// Name is "sysctl".
func (s *Settings) Name() string { return "sysctl" }

// Resync makes the next Apply read every desired key back.
func (s *Settings) Resync() {}

// Observe takes link events: a device that came back has lost its settings.
func (s *Settings) Observe(e dataplane.Event) bool { return false }

// Apply writes what differs. A key that does not exist, as of a device yet to come, is an error that
// wraps fs.ErrNotExist, and is tried again.
func (s *Settings) Apply(ctx context.Context) error { panic("not built yet") }
