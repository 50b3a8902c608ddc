// Package drivertest runs one suite of a driver on the real kernel and on the fake one. Only tests import it.
//
// A case is a transcript in the driver's testdata: lines that begin with "> " are commands, the lines below each are
// what it printed. A command changes the kernel as a stranger would ("link add eth0"), shows it ("routes"), or drives
// the driver ("apply"); after each one, the driver observes the events that the kernel sent. Run plays each transcript
// on fake.Kernel and, as root, in a new network namespace, and both must print what the file says. With -update the
// file is written from what the real kernel does, never from the fake.
package drivertest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

var update = flag.Bool("update", false, "write the transcripts as the real kernel has them")

// Driver is the driver under test with its own commands.
type Driver interface {
	dataplane.Driver
	dataplane.Observer
	// Command carries out a command that the kernel does not know, and returns what to print.
	Command(words []string) (string, error)
}

// Run plays every transcript of testdata/pattern. start opens the driver on a kernel; it is called again by the
// command "restart", which stands for a new process.
func Run(t *testing.T, pattern string, start func(testing.TB, Kernel) Driver) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts %s: %v", pattern, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name+"/kernel", func(t *testing.T) {
			kerneltest.Enter(t)
			got := play(t, read(t, file), openReal(t), start)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, file, got)
		})
		t.Run(name+"/fake", func(t *testing.T) {
			compare(t, file, play(t, read(t, file), openFake(), start))
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(read(t, file), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// play carries out the commands of a transcript, and returns it with what they print.
func play(t *testing.T, text string, k Kernel, start func(testing.TB, Kernel) Driver) string {
	t.Helper()
	p := &player{t: t, host: newHost(k), start: start, driver: start(t, k)}
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "#"), line == "\n":
			p.out.WriteString(line)
		case strings.HasPrefix(line, "> "):
			p.out.WriteString(line)
			p.do(strings.Fields(line[2:]))
		}
	}
	return p.out.String()
}

type player struct {
	t      *testing.T
	host   *host
	start  func(testing.TB, Kernel) Driver
	driver Driver
	losing bool
	out    strings.Builder
}

func (p *player) print(text string) {
	for line := range strings.Lines(text) {
		p.out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
}

// do carries out one command and prints its result and what follows from it.
func (p *player) do(words []string) {
	var text string
	var err error
	switch words[0] {
	case "apply":
		err = p.driver.Apply(p.t.Context())
	case "resync":
		p.driver.Resync()
	case "restart":
		p.driver = p.start(p.t, p.host.kernel)
	case "lose": // the notifications of what the next command does
		p.losing = true
		return
	default:
		var known bool
		text, known, err = p.host.command(words)
		if !known {
			text, err = p.driver.Command(words)
		}
	}
	p.print(text)
	if err != nil {
		p.print("error: " + err.Error())
	}
	p.observe()
}

func (p *player) observe() {
	events := p.host.events(p.t)
	if p.losing {
		events, p.losing = []dataplane.Event{{Kind: dataplane.EventLost}}, false
	}
	due := false
	for _, e := range events {
		p.print(p.host.describe(e))
		due = p.driver.Observe(e) || due
	}
	if due {
		p.print("apply is due")
	}
}

// describe returns an event as a transcript has it.
func (h *host) describe(e dataplane.Event) string {
	verb := map[bool]string{true: "deleted", false: "changed"}[e.Deleted]
	switch e.Kind {
	case dataplane.EventLink:
		state := map[bool]string{true: "up", false: "down"}[e.Up]
		return fmt.Sprintf("event: link %s %s %s", e.Device, verb, state)
	case dataplane.EventAddr:
		return fmt.Sprintf("event: address %s %s", e.Dst, verb)
	case dataplane.EventRoute:
		return fmt.Sprintf("event: route %s metric %d proto %d %s", e.Dst, e.Priority, e.Protocol, verb)
	case dataplane.EventNeigh:
		return fmt.Sprintf("event: neighbour %s %s", e.Dst.Addr(), verb)
	}
	return "event: lost"
}
