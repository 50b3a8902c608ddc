package sysctl_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/felix/dataplane/drivertest"
	"github.com/maneki-net/maneki/felix/dataplane/sysctl"
)

// suite is Settings with the commands of its transcripts:
//
//	want KEY VALUE
//	unwant DEVICE
//	inplace DEVICE
type suite struct{ *sysctl.Settings }

func (s suite) Command(words []string) (string, error) {
	switch words[0] {
	case "want":
		s.Set(words[1], strings.Join(words[2:], " "))
	case "unwant":
		s.RemoveDevice(words[1])
	case "inplace":
		return strconv.FormatBool(s.InPlace(words[1])), nil
	default:
		return "", fmt.Errorf("no such command: %q", words)
	}
	return "", nil
}

// TestSuite plays the transcripts on the real kernel and on the fake one.
func TestSuite(t *testing.T) {
	drivertest.Run(t, "*.txt", func(_ testing.TB, k drivertest.Kernel) drivertest.Driver {
		return suite{sysctl.New(k)}
	})
}
