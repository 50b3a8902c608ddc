package tunnel_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/drivertest"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
)

// suite is Tunnels with the commands of its transcripts:
//
//	want DEVICE parent DEVICE local ADDRESS addr ADDRESS [mtu OCTETS] [mac MAC] [vni N] [peer ADDRESS/MAC/OUTER …]
//	want nothing
type suite struct{ *tunnel.Tunnels }

func (s suite) Command(words []string) (string, error) {
	if words[0] != "want" {
		return "", fmt.Errorf("no such command: %q", words)
	}
	if words[1] == "nothing" {
		s.Replace(nil)
		return "", nil
	}
	d := tunnel.Device{Name: words[1], Kind: encap.VXLAN, VNI: 4096, Port: 4789}
	for i := 2; i+1 < len(words); i += 2 {
		value := words[i+1]
		var err error
		switch words[i] {
		case "parent":
			d.Parent = value
		case "local":
			d.Local, err = netip.ParseAddr(value)
		case "addr":
			d.Addr, err = netip.ParseAddr(value)
			d.Family = dataplane.FamilyOf(d.Addr)
		case "mtu":
			d.MTU, err = strconv.Atoi(value)
		case "vni":
			d.VNI, err = strconv.Atoi(value)
		case "mac":
			d.MAC = address(value)
		case "peer":
			part := strings.Split(value, "/")
			d.Peers = append(d.Peers, tunnel.Peer{Addr: netip.MustParseAddr(part[0]), MAC: address(part[1]),
				Outer: netip.MustParseAddr(part[2])})
		}
		if err != nil {
			return "", err
		}
	}
	s.Replace([]tunnel.Device{d})
	return "", nil
}

// TestSuite plays the transcripts on the real kernel and on the fake one.
func TestSuite(t *testing.T) {
	drivertest.Run(t, "*.txt", func(_ testing.TB, k drivertest.Kernel) drivertest.Driver {
		return suite{newDriver(k, "vxlan.calico")}
	})
}
