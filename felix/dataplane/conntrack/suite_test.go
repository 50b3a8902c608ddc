package conntrack_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/conntrack"
	"github.com/maneki-net/maneki/felix/dataplane/drivertest"
)

// suite is Connections with the commands of its transcripts:
//
//	forget ADDRESS
//	inplace ADDRESS
type suite struct{ *conntrack.Connections }

func (s suite) Command(words []string) (string, error) {
	switch words[0] {
	case "forget":
		s.Forget(netip.MustParseAddr(words[1]))
	case "inplace":
		return strconv.FormatBool(s.InPlace(netip.MustParseAddr(words[1]))), nil
	default:
		return "", fmt.Errorf("no such command: %q", words)
	}
	return "", nil
}

func (suite) Observe(dataplane.Event) bool { return false }

// TestSuite plays the transcripts on the real kernel and on the fake one.
func TestSuite(t *testing.T) {
	for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		drivertest.Run(t, f.String()+".txt", func(_ testing.TB, k drivertest.Kernel) drivertest.Driver {
			return suite{conntrack.New(f, k)}
		})
	}
}
