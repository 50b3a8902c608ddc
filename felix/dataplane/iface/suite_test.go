package iface_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane/drivertest"
	"github.com/maneki-net/maneki/felix/dataplane/iface"
)

// suite is Interfaces with the commands of its transcripts:
//
//	exists DEVICE
//	with ADDRESS
//	but DEVICE
type suite struct{ *iface.Interfaces }

func (suite) Name() string { return "iface" }

func (s suite) Command(words []string) (string, error) {
	switch words[0] {
	case "exists":
		return strconv.FormatBool(s.Exists(words[1])), nil
	case "with":
		return s.WithAddr(netip.MustParseAddr(words[1])), nil
	case "but":
		addrs := slices.DeleteFunc(s.AddrsBut(words[1]), func(a netip.Addr) bool {
			return a.IsLinkLocalUnicast() || a.IsLoopback()
		})
		return strings.Trim(fmt.Sprint(addrs), "[]"), nil
	}
	return "", fmt.Errorf("no such command: %q", words)
}

// Apply implements drivertest.Driver.
func (s suite) Apply(ctx context.Context) error {
	_, err := s.Interfaces.Apply(ctx)
	return err
}

// TestSuite plays the transcripts on the real kernel and on the fake one.
func TestSuite(t *testing.T) {
	drivertest.Run(t, "*.txt", func(_ testing.TB, k drivertest.Kernel) drivertest.Driver {
		return suite{iface.New(k)}
	})
}
