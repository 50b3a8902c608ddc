package veth_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/drivertest"
	"github.com/maneki-net/maneki/felix/dataplane/veth"
)

// suite is Pairs with the commands of its transcripts; the namespace of the pod "web" is named "web":
//
//	pair create|check POD DEVICE [mtu OCTETS] [ADDRESS …]
//	pair delete|exists DEVICE
//	pod POD COMMAND …
type suite struct {
	t       testing.TB
	kernel  drivertest.Kernel
	netns   map[string]*os.File
	kernels map[string]drivertest.Kernel
}

var podMAC = net.HardwareAddr{0x66, 0, 0, 0, 0, 7}

func (s suite) Command(words []string) (string, error) {
	if words[0] == "pod" {
		_, pod := s.pod(words[1])
		return drivertest.Command(pod, words[2:])
	}
	pairs, ctx := drivertest.Pairs(s.kernel), s.t.Context()
	switch words[1] {
	case "create":
		_, err := pairs.Create(ctx, s.pair(words[2:]))
		return "", err
	case "check":
		return "", pairs.Check(ctx, s.pair(words[2:]))
	case "delete":
		return "", pairs.Delete(ctx, words[2])
	case "exists":
		exists, err := pairs.Exists(words[2])
		return strconv.FormatBool(exists), err
	}
	return "", fmt.Errorf("no such command: %q", words)
}

func (s suite) pod(name string) (*os.File, drivertest.Kernel) {
	if s.netns[name] == nil {
		s.netns[name], s.kernels[name] = drivertest.NewPod(s.t, s.kernel)
	}
	return s.netns[name], s.kernels[name]
}

func (s suite) pair(words []string) veth.Pair {
	p := veth.Pair{Host: words[1], Pod: "eth0", MAC: podMAC}
	p.Netns, _ = s.pod(words[0])
	for i := 2; i < len(words); i++ {
		if words[i] == "mtu" {
			i++
			p.MTU, _ = strconv.Atoi(words[i])
			continue
		}
		p.Addrs = append(p.Addrs, netip.MustParseAddr(words[i]))
	}
	return p
}

// There is nothing to reconcile.
func (suite) Name() string                 { return "veth" }
func (suite) Apply(context.Context) error  { return nil }
func (suite) Resync()                      {}
func (suite) Observe(dataplane.Event) bool { return false }

// TestSuite plays the transcripts on the real kernel and on the fake one.
func TestSuite(t *testing.T) {
	drivertest.Run(t, "*.txt", func(t testing.TB, k drivertest.Kernel) drivertest.Driver {
		return suite{t, k, map[string]*os.File{}, map[string]drivertest.Kernel{}}
	})
}
