// As in cmd/felix: Go listens for Multipath TCP by default, whose sockets take no TTL.
//
//go:debug multipathtcp=0
package speaker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/typha/wire"
)

// patience is how long a test waits for something that BGP's timers allow to take seconds.
const patience = 60 * time.Second

// TestMain lets the test binary be a speaker in a network namespace of its own: a speaker listens
// on port 179 of its namespace, and GoBGP allows one a process.
func TestMain(m *testing.M) {
	if os.Getenv("MKT_SPEAKER") != "" {
		speak()
		return
	}
	if os.Getenv(strangerVariable) != "" {
		stranger()
		return
	}
	// The tests wait for BGP's timers, not for a CPU.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// report is what a speaker process writes, a line of JSON at each change.
type report struct {
	Status   bgp.Status
	Routes   []bgp.Route
	Resident int // kB
}

// speak runs a speaker that takes a line of JSON for each configuration, until it is killed.
func speak() {
	s := New(slog.New(slog.NewTextHandler(os.Stderr, nil)), Options{DeferralTime: 20 * time.Second,
		ExcessDelay: 3 * time.Second})
	go func() {
		configs := json.NewDecoder(os.Stdin)
		for {
			var config bgp.Config
			if configs.Decode(&config) != nil {
				return
			}
			s.Configure(config)
		}
	}()
	go func() {
		reports := json.NewEncoder(os.Stdout)
		for range s.Changes() {
			reports.Encode(report{Status: s.Status(), Routes: s.Routes(), Resident: resident()})
		}
	}()
	if err := s.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// resident is the process's resident memory in kB.
func resident() int {
	status, _ := os.ReadFile("/proc/self/status")
	kB := 0
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmRSS: %d kB", &kB)
	}
	return kB
}

// lab is a network of namespaces on one bridge.
type lab struct {
	t      *testing.T
	prefix string
}

// newLab makes a namespace with a bridge, and one for each host, which gets the addresses
// 10.91.0.<n>/24 and fd91::<n>/64.
func newLab(t *testing.T, hosts int) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("SKIPPED: needs root to make network namespaces")
	}
	for _, program := range []string{"ip", "ss", "iptables-nft", "bird", "birdc"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("needs %s (packages iproute2, iptables, bird2)", program)
			}
			t.Skipf("SKIPPED: needs %s (packages iproute2, iptables, bird2)", program)
		}
	}
	l := &lab{t: t, prefix: fmt.Sprintf("mkt-bgp-%06x", rand.N(1<<24))}
	l.addNamespace("sw")
	l.ip("-n", l.ns("sw"), "link", "add", "br0", "type", "bridge")
	l.ip("-n", l.ns("sw"), "link", "set", "br0", "up")
	for n := 1; n <= hosts; n++ {
		name, port := fmt.Sprint(n), fmt.Sprintf("p%d", n)
		l.addNamespace(name)
		l.ip("link", "add", "eth0", "netns", l.ns(name), "type", "veth", "peer", "name", port, "netns", l.ns("sw"))
		l.ip("-n", l.ns("sw"), "link", "set", port, "master", "br0", "up")
		l.ip("-n", l.ns(name), "link", "set", "lo", "up")
		l.ip("-n", l.ns(name), "link", "set", "eth0", "up")
		l.ip("-n", l.ns(name), "addr", "add", fmt.Sprintf("10.91.0.%d/24", n), "dev", "eth0")
		l.ip("-n", l.ns(name), "addr", "add", fmt.Sprintf("fd91::%d/64", n), "dev", "eth0", "nodad")
	}
	return l
}

func (l *lab) ns(name string) string { return l.prefix + "-" + name }

func (l *lab) addNamespace(name string) {
	l.t.Helper()
	l.ip("netns", "add", l.ns(name))
	l.t.Cleanup(func() { exec.Command("ip", "netns", "del", l.ns(name)).Run() })
}

func (l *lab) ip(args ...string) {
	l.t.Helper()
	l.output("ip", args...)
}

// output runs a program to its end.
func (l *lab) output(name string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// unplug takes a host off the bridge; its own link stays up.
func (l *lab) unplug(host int) {
	l.t.Helper()
	l.ip("-n", l.ns("sw"), "link", "set", fmt.Sprintf("p%d", host), "nomaster")
}

// plug undoes unplug.
func (l *lab) plug(host int) {
	l.t.Helper()
	l.ip("-n", l.ns("sw"), "link", "set", fmt.Sprintf("p%d", host), "master", "br0")
}

// start runs a program in a host's namespace until it is killed or the test ends.
func (l *lab) start(host int, cmd *exec.Cmd) *exec.Cmd {
	l.t.Helper()
	inside := exec.Command("ip", append([]string{"netns", "exec", l.ns(fmt.Sprint(host))}, cmd.Args...)...)
	inside.Env, inside.Stdin, inside.Stdout, inside.Stderr = cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr
	if err := inside.Start(); err != nil {
		l.t.Fatalf("start %v: %v", inside.Args, err)
	}
	l.t.Cleanup(func() { kill(inside) })
	return inside
}

// kill ends a program as a crash would. `ip netns exec` has replaced itself by the program.
func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// process is a speaker in a host's namespace.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	configs *json.Encoder
	reports chan report
	last    report
	logs    syncBuffer
}

func (l *lab) speaker(host int) *process {
	l.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MKT_SPEAKER=1")
	in, configs, _ := os.Pipe()
	reports, out, _ := os.Pipe()
	p := &process{t: l.t, configs: json.NewEncoder(configs), reports: make(chan report, 1000)}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &p.logs
	p.cmd = l.start(host, cmd)
	in.Close()
	out.Close()
	go func() {
		defer close(p.reports)
		decoder := json.NewDecoder(bufio.NewReader(reports))
		for {
			var r report
			if decoder.Decode(&r) != nil {
				return
			}
			p.reports <- r
		}
	}()
	l.t.Cleanup(func() {
		configs.Close()
		reports.Close()
		if l.t.Failed() {
			l.t.Logf("log of the speaker on host %d:\n%s", host, p.logs.String())
		}
	})
	return p
}

func (p *process) configure(config bgp.Config) {
	p.t.Helper()
	if err := p.configs.Encode(config); err != nil {
		p.t.Fatalf("configure speaker: %v", err)
	}
}

// wait reads reports until one is as wanted.
func (p *process) wait(what string, wanted func(report) bool) report {
	p.t.Helper()
	timeout := time.After(patience)
	for !wanted(p.last) {
		select {
		case r, ok := <-p.reports:
			if !ok {
				p.t.Fatalf("speaker ended while waiting until %s", what)
			}
			p.last = r
		case <-timeout:
			p.t.Fatalf("not in %s: %s; last report %+v", patience, what, p.last)
		}
	}
	return p.last
}

// during reads reports for a while and checks each.
func (p *process) during(d time.Duration, check func(report)) {
	p.t.Helper()
	timeout := time.After(d)
	for {
		select {
		case r, ok := <-p.reports:
			if !ok {
				p.t.Fatal("speaker ended")
			}
			p.last = r
			check(r)
		case <-timeout:
			return
		}
	}
}

// bird is a BIRD in a host's namespace.
type bird struct {
	t      *testing.T
	l      *lab
	host   int
	config string
	socket string
	cmd    *exec.Cmd
}

func (l *lab) bird(host int, config string) *bird {
	l.t.Helper()
	dir := l.t.TempDir()
	b := &bird{t: l.t, l: l, host: host, config: filepath.Join(dir, "bird.conf"), socket: filepath.Join(dir, "ctl")}
	config = fmt.Sprintf("router id 10.91.0.%d;\nprotocol device {}\n"+
		"protocol kernel { ipv4 { export all; import none; }; }\nprotocol kernel { ipv6 { export all; import none; "+
		"}; }\n%s", host, config)
	if err := os.WriteFile(b.config, []byte(config), 0o600); err != nil {
		l.t.Fatal(err)
	}
	b.restart()
	return b
}

func (b *bird) restart(args ...string) {
	b.t.Helper()
	args = append([]string{"bird", "-f", "-c", b.config, "-s", b.socket, "-P", b.socket + ".pid"}, args...)
	var log syncBuffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &log
	b.cmd = b.l.start(b.host, cmd)
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("log of BIRD on host %d:\n%s", b.host, log.String())
		}
	})
}

// show runs a command of BIRD's console.
func (b *bird) show(command string) string {
	out, _ := exec.Command("birdc", append([]string{"-r", "-s", b.socket}, strings.Fields(command)...)...).Output()
	return string(out)
}

// do runs a command that changes something.
func (b *bird) do(command string) {
	b.t.Helper()
	if out, err := exec.Command("birdc", append([]string{"-s", b.socket},
		strings.Fields(command)...)...).CombinedOutput(); err != nil {
		b.t.Fatalf("birdc %s: %v: %s", command, err, out)
	}
}

// wait asks until the answer is as wanted.
func (b *bird) wait(what, command string, wanted func(string) bool) string {
	b.t.Helper()
	timeout, again := time.After(patience), time.NewTicker(50*time.Millisecond)
	defer again.Stop()
	for {
		answer := b.show(command)
		if wanted(answer) {
			return answer
		}
		select {
		case <-again.C:
		case <-timeout:
			b.t.Fatalf("not in %s: %s; birdc %s says:\n%s", patience, what, command, answer)
		}
	}
}

func (b *bird) waitRoute(dst, via string) {
	b.t.Helper()
	b.wait("route to "+dst+" via "+via, "show route for "+dst, func(s string) bool {
		return strings.Contains(s, dst) && strings.Contains(s, "via "+via+" ")
	})
}

// watchRoutes records the changes of a host's kernel routes.
func (l *lab) watchRoutes(host int) *syncBuffer {
	l.t.Helper()
	var out syncBuffer
	cmd := exec.Command("ip", "monitor", "route")
	cmd.Stdout = &out
	l.start(host, cmd)
	return &out
}

// external is BIRD's side of a session over one family.
func external(name string, localAS int, peer string, peerAS int, channel string) string {
	return fmt.Sprintf(`protocol bgp %s { local as %d; neighbor %s as %d; direct; graceful restart on; connect retry time 2; connect delay time 1; error wait time 1, 2; hold time 30; %s { import all; export where source = RTS_STATIC; }; }
`, name, localAS, peer, peerAS, channel)
}

func static(v4, v6 string) string {
	return fmt.Sprintf("protocol static s4 { ipv4; route %s blackhole; }\nprotocol static s6 { ipv6; route %s "+
		"blackhole; }\n", v4, v6)
}

// syncBuffer is a buffer that a program's output may go to while a test reads it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*syncBuffer)(nil)

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func hostAddr(host int, family byte) netip.Addr {
	if family == 4 {
		return netip.AddrFrom4([4]byte{10, 91, 0, byte(host)})
	}
	return netip.MustParseAddr(fmt.Sprintf("fd91::%d", host))
}

// config of a speaker on a host, without peers.
func config(host int, asn uint32, announce ...string) bgp.Config {
	c := bgp.Config{ASNumber: asn, RouterID: hostAddr(host, 4), ListenPort: 179}
	for _, dst := range announce {
		c.Announce = append(c.Announce, netip.MustParsePrefix(dst))
	}
	return c
}

// peers are both sessions from a host to another.
func peers(host, to int, asn uint32) []bgp.Peer {
	var list []bgp.Peer
	for _, family := range []byte{4, 6} {
		list = append(list, bgp.Peer{LocalAddr: hostAddr(host, family), BGPPeer: wire.BGPPeer{
			Name: fmt.Sprintf("peer-%d", to), Addr: hostAddr(to, family),
			Port: 179, ASNumber: asn, MaxRestartSeconds: 30,
		}})
	}
	return list
}

func hasRoute(r report, dst string, hops ...netip.Addr) bool {
	for _, route := range r.Routes {
		if route.Dst.String() == dst {
			return fmt.Sprint(route.NextHops) == fmt.Sprint(hops)
		}
	}
	return len(hops) == 0
}
