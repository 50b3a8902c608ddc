package monitor_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/maneki-net/maneki/api/encap"
	"github.com/maneki-net/maneki/felix/dataplane"
	"github.com/maneki-net/maneki/felix/dataplane/filter"
	"github.com/maneki-net/maneki/felix/dataplane/filter/iptables"
	"github.com/maneki-net/maneki/felix/dataplane/ipset"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
	"github.com/maneki-net/maneki/felix/dataplane/monitor"
	"github.com/maneki-net/maneki/felix/dataplane/route"
	"github.com/maneki-net/maneki/felix/dataplane/tunnel"
)

// start runs a Monitor in a new network namespace until the test ends.
func start(t *testing.T) *monitor.Monitor {
	t.Helper()
	kerneltest.Enter(t)
	m, err := monitor.Open()
	if err != nil {
		t.Fatal(err)
	}
	run(t, m)
	return m
}

// run runs it until the test ends.
func run(t *testing.T, m *monitor.Monitor) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if _, open := <-m.Events(); open { // one may have been waiting
			for range m.Events() {
			}
		}
	})
}

// until collects events up to the one that match accepts, which must come within seconds.
func until(t *testing.T, m *monitor.Monitor, what string, match func(dataplane.Event) bool) []dataplane.Event {
	t.Helper()
	deadline := time.After(5 * time.Second)
	var list []dataplane.Event
	for {
		select {
		case e, open := <-m.Events():
			if !open {
				t.Fatalf("%s: the channel was closed", what)
			}
			list = append(list, e)
			if match(e) {
				return list
			}
		case <-deadline:
			t.Fatalf("%s: no such event among the last of %d, %+v", what, len(list), list[max(0, len(list)-20):])
		}
	}
}

// settle makes a change that is nobody's business and collects the events before it: all that happened until now.
func settle(t *testing.T, m *monitor.Monitor, n int) []dataplane.Event {
	t.Helper()
	chain, device := fmt.Sprintf("marker%d", n), fmt.Sprintf("marker%d", n)
	kerneltest.Run(t, "iptables-nft -t raw -N "+chain)
	kerneltest.Run(t, "ip link add "+device+" type bridge")
	var sawChain, sawDevice bool
	return until(t, m, "marker", func(e dataplane.Event) bool {
		sawChain = sawChain || slices.Contains(e.Chains, chain)
		sawDevice = sawDevice || e.Device == device
		return sawChain && sawDevice
	})
}

func TestEvents(t *testing.T) {
	m := start(t)
	prefix := netip.MustParsePrefix
	for _, s := range []struct {
		command string
		want    dataplane.Event // Index and PortID are not compared
	}{
		{"ip link add cali1 mtu 1400 address 66:00:00:00:00:01 type veth peer name pod1",
			dataplane.Event{Kind: dataplane.EventLink, Device: "cali1", MTU: 1400}},
		{"ip link set cali1 up", dataplane.Event{Kind: dataplane.EventLink, Device: "cali1", MTU: 1400, Up: true}},
		{"ip link set pod1 up", dataplane.Event{Kind: dataplane.EventLink, Device: "pod1", MTU: 1500, Up: true}},
		{"ip addr add 10.0.0.1/24 dev cali1", dataplane.Event{Kind: dataplane.EventAddr, Family: 4,
			Dst: prefix("10.0.0.1/24")}},
		{"ip addr add fd00::1/64 dev cali1 nodad", dataplane.Event{Kind: dataplane.EventAddr, Family: 6,
			Dst: prefix("fd00::1/64")}},
		{"ip route add 10.9.0.0/16 dev cali1 proto 80 metric 5",
			dataplane.Event{Kind: dataplane.EventRoute, Family: 4, Table: 254, Dst: prefix("10.9.0.0/16"), Protocol: 80,
				Priority: 5}},
		{"ip route add default dev cali1 table 1000", dataplane.Event{Kind: dataplane.EventRoute, Family: 4,
			Table: 1000, Dst: prefix("0.0.0.0/0"), Protocol: 3}},
		{"ip route add default dev cali1 proto 12", dataplane.Event{Kind: dataplane.EventRoute, Family: 4, Table: 254,
			Dst: prefix("0.0.0.0/0"), Protocol: 12}},
		{"ip route add fd00:9::/64 dev cali1 proto 80", dataplane.Event{Kind: dataplane.EventRoute, Family: 6,
			Table: 254, Dst: prefix("fd00:9::/64"), Protocol: 80, Priority: 1024}},
		{"ip route del fd00:9::/64 dev cali1", dataplane.Event{Kind: dataplane.EventRoute, Deleted: true, Family: 6,
			Table: 254, Dst: prefix("fd00:9::/64"), Protocol: 80, Priority: 1024}},
		{"ip neigh add 10.0.0.9 lladdr 66:00:00:00:00:09 dev cali1 nud permanent",
			dataplane.Event{Kind: dataplane.EventNeigh, Family: 4, Dst: prefix("10.0.0.9/32")}},
		{"ip neigh del 10.0.0.9 dev cali1", dataplane.Event{Kind: dataplane.EventNeigh, Deleted: true, Family: 4,
			Dst: prefix("10.0.0.9/32")}},
		{"ip link add vx type vxlan id 7 dstport 4789 local 10.0.0.1",
			dataplane.Event{Kind: dataplane.EventLink, Device: "vx"}},
		{"bridge fdb add 66:00:00:00:00:08 dev vx dst 10.0.0.8",
			dataplane.Event{Kind: dataplane.EventNeigh, Dst: prefix("10.0.0.8/32")}},
		{"ip addr del 10.0.0.1/24 dev cali1", dataplane.Event{Kind: dataplane.EventAddr, Deleted: true, Family: 4,
			Dst: prefix("10.0.0.1/24")}},
		{"ip link del cali1", dataplane.Event{Kind: dataplane.EventLink, Deleted: true, Device: "cali1", MTU: 1400}},
		{"iptables-nft -N cali-x", dataplane.Event{Kind: dataplane.EventChains, Family: 4, TableName: "filter"}},
		{"ip6tables-nft -t nat -A POSTROUTING -j RETURN", dataplane.Event{Kind: dataplane.EventChains, Family: 6,
			TableName: "nat"}},
	} {
		kerneltest.Run(t, s.command)
		until(t, m, s.command, func(e dataplane.Event) bool {
			mtu := s.want.MTU == 0 || e.MTU == s.want.MTU
			return e.Kind == s.want.Kind && e.Deleted == s.want.Deleted && e.Family == s.want.Family &&
				e.Device == s.want.Device && mtu && (e.Up || !s.want.Up) && e.Dst == s.want.Dst &&
				e.Table == s.want.Table && e.Protocol == s.want.Protocol && e.Priority == s.want.Priority &&
				e.TableName == s.want.TableName && (e.Kind != dataplane.EventChains || len(e.Chains) > 0)
		})
	}
}

// TestDriversRepair: drivers take their own changes for granted, notice a stranger's, and repair it.
func TestDriversRepair(t *testing.T) {
	m := start(t)
	for _, command := range []string{
		"ip link add eth0 type veth peer name eth0p", "ip link set eth0 up", "ip link set eth0p up",
		"ip addr add 192.168.7.1/24 dev eth0", "ip link add cali1 type veth peer name pod1", "ip link set cali1 up",
	} {
		kerneltest.Run(t, command)
	}
	h, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	vxlan := tunnel.New(h, map[string]encap.Kind{"vxlan.calico": encap.VXLAN})
	vxlan.Replace([]tunnel.Device{{
		Name: "vxlan.calico", Kind: encap.VXLAN, Family: dataplane.IPv4, VNI: 4096, Port: 4789, Parent: "eth0",
		Local: netip.MustParseAddr("192.168.7.1"), Addr: netip.MustParseAddr("10.65.0.1"),
		Peers: []tunnel.Peer{{
			Addr: netip.MustParseAddr("10.65.1.1"), MAC: net.HardwareAddr{0x66, 0, 0, 0, 0, 1},
			Outer: netip.MustParseAddr("192.168.7.2"),
		}},
	}})
	routes := route.New(h, route.Config{Family: dataplane.IPv4, Protocols: []int{80}})
	routes.Set(route.Route{
		Dst: netip.MustParsePrefix("10.65.1.0/26"), Protocol: 80,
		Hops: []route.Hop{{Device: "vxlan.calico", Gateway: netip.MustParseAddr("10.65.1.1"), OnLink: true}},
	})
	routes.Set(route.Route{Dst: netip.MustParsePrefix("10.65.0.2/32"), Protocol: 80,
		Hops: []route.Hop{{Device: "cali1"}}})
	routes.Complete()
	table := newRules(t, iptables.Exec{})
	table.Set(filter.Chain{Name: "cali-FORWARD", Rules: []filter.Rule{{Action: filter.Accept{}}}})
	table.Hook(map[filter.Hook]filter.HookRules{
		filter.Forward: {First: []filter.Rule{{Action: filter.Jump{Chain: "cali-FORWARD"}}}}})

	drivers := []interface {
		dataplane.Driver
		dataplane.Observer
	}{vxlan, routes, table}
	observe := func(events []dataplane.Event) (contradicted []string) {
		for _, d := range drivers {
			for _, e := range events {
				if d.Observe(e) && !slices.Contains(contradicted, d.Name()) {
					contradicted = append(contradicted, d.Name())
				}
			}
			if err := d.Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return contradicted
	}
	observe(nil)
	observe(settle(t, m, 0)) // the device's creation goes through states that look wrong
	if got := observe(settle(t, m, 1)); got != nil {
		t.Errorf("drivers %q saw a contradiction though nobody interfered", got)
	}
	table.Set(filter.Chain{Name: "cali-FORWARD", Rules: []filter.Rule{{Action: filter.Drop{}},
		{Action: filter.Accept{}}}})
	routes.Set(route.Route{Dst: netip.MustParsePrefix("10.65.2.0/26"), Protocol: 80, Type: route.Blackhole})
	observe(nil)
	if got := observe(settle(t, m, 2)); got != nil {
		t.Errorf("drivers %q took their own change for a stranger's", got)
	}

	state := func() string {
		return strings.Join([]string{
			kerneltest.Run(t, "ip route show proto 80"), kerneltest.Run(t, "ip neigh show nud permanent"),
			kerneltest.Run(t, "bridge fdb show dev "+"vxlan.calico"),
			kerneltest.Run(t, "ip -br -4 addr show dev "+"vxlan.calico"),
			kerneltest.Run(t, "iptables-nft -S"),
		}, "")
	}
	want := state()
	for i, c := range []struct{ command, driver string }{
		{"ip route del 10.65.0.2", "route"},
		{"ip route del blackhole 10.65.2.0/26", "route"},
		{"ip route add blackhole 10.65.3.0/26 proto 80", "route"},
		{"ip neigh del 10.65.1.1 dev vxlan.calico", "link"},
		{"bridge fdb del 66:00:00:00:00:01 dev vxlan.calico dst 192.168.7.2", "link"},
		{"ip addr flush dev vxlan.calico", "link"},
		{"ip link set cali1 down", "route"},
		{"iptables-nft -F cali-FORWARD", "iptables"},
		{"iptables-nft -D FORWARD 1", "iptables"},
	} {
		kerneltest.Run(t, c.command)
		if c.command == "ip link set cali1 down" {
			kerneltest.Run(t, "ip link set cali1 up")
		}
		events := settle(t, m, 10+i)
		if got := observe(events); !slices.Contains(got, c.driver) {
			t.Errorf("%s: drivers %q saw it, want %s", c.command, got, c.driver)
		}
		observe(settle(t, m, 50+i))
		if got := state(); strings.ReplaceAll(got, " linkdown", "") != strings.ReplaceAll(want, " linkdown", "") {
			t.Errorf("%s was not repaired: got\n%swant\n%s", c.command, got, want)
		}
	}
	if got := observe([]dataplane.Event{{Kind: dataplane.EventLost}}); len(got) != len(drivers) {
		t.Errorf("drivers %q doubt what they know when events were lost, want all", got)
	}
}

// rules is a backend of rules as a driver of the chain cali-FORWARD.
type rules struct {
	*iptables.Backend
	next filter.Commit
}

func newRules(t *testing.T, runner iptables.Runner) *rules {
	t.Helper()
	sets, err := ipset.Dial(dataplane.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sets.Close() })
	return &rules{Backend: iptables.New(iptables.Config{Family: dataplane.IPv4, Variant: iptables.NFT, Runner: runner,
		Sets: sets})}
}

func (r *rules) Set(c filter.Chain) {
	c.Table = filter.Filter
	r.next.Chains = append(r.next.Chains, c)
}

func (r *rules) Hook(hooks map[filter.Hook]filter.HookRules) {
	r.next.Hooks = map[filter.Table]map[filter.Hook]filter.HookRules{filter.Filter: hooks}
}

func (r *rules) Apply(ctx context.Context) error {
	c := r.next
	r.next = filter.Commit{}
	return r.Commit(ctx, c)
}

func (r *rules) Resync() { r.ResyncChains() }

// numbered notes the process ids of the commands that change rules.
type numbered struct {
	iptables.Exec
	pid int
}

func (n *numbered) Start(ctx context.Context, c iptables.Command) func() ([]byte, int, error) {
	finish := n.Exec.Start(ctx, c)
	return func() ([]byte, int, error) {
		out, pid, err := finish()
		if strings.HasSuffix(c.Name, "-restore") {
			n.pid = pid
		}
		return out, pid, err
	}
}

// TestSameProcessID: a stranger of another PID namespace whose process id there is that of our last command is told
// from us, whichever of the two events comes first.
func TestSameProcessID(t *testing.T) {
	m := start(t)
	n := &numbered{}
	table := newRules(t, n)
	table.Set(filter.Chain{Name: "cali-FORWARD", Rules: []filter.Rule{{Action: filter.Drop{}}}})
	table.Hook(map[filter.Hook]filter.HookRules{
		filter.Forward: {First: []filter.Rule{{Action: filter.Jump{Chain: "cali-FORWARD"}}}}})
	if err := table.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	observe := func(events []dataplane.Event) (contradicted, ofStranger bool) {
		for _, e := range events {
			contradicted = table.Observe(e) || contradicted
			ofStranger = ofStranger || e.PortID == uint32(n.pid)
		}
		return contradicted, ofStranger
	}
	observe(settle(t, m, 0)) // the kernel's table was made
	if err := table.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	stranger := func() {
		t.Helper()
		script := fmt.Sprintf("echo %d > /proc/sys/kernel/ns_last_pid; iptables-nft -I FORWARD -j ACCEPT; exit $?",
			n.pid-1)
		cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for i, ours := range []bool{false, true} {
		if ours { // whose event is still to come
			table.Set(filter.Chain{Name: "cali-FORWARD", Rules: []filter.Rule{{Action: filter.Drop{}},
				{Action: filter.Drop{}}}})
			if err := table.Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		stranger()
		if contradicted, same := observe(settle(t, m, 1+i)); !same || !contradicted {
			t.Errorf("with a change of our own %v: the stranger had our process id %v, want true; it was noticed "+
				"%v, want true", ours, same, contradicted)
		}
		if err := table.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		rules := kerneltest.Run(t, "iptables-nft -S FORWARD")
		if strings.Index(rules, "cali-FORWARD") > strings.Index(rules, "-j ACCEPT") {
			t.Errorf("with a change of our own %v: the stranger's rule stays before ours:\n%s", ours, rules)
		}
		if contradicted, _ := observe(settle(t, m, 5+i)); contradicted {
			t.Errorf("with a change of our own %v: the repair was taken for a stranger's", ours)
		}
		kerneltest.Run(t, "iptables-nft -D FORWARD -j ACCEPT")
		observe(settle(t, m, 10+i))
		if err := table.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLost: more than the kernel queues for us happens while nobody reads.
func TestLost(t *testing.T) {
	kerneltest.Enter(t)
	m, err := monitor.Open()
	if err != nil {
		t.Fatal(err)
	}
	var batch strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&batch, "route add blackhole 10.%d.%d.%d/32\n", i>>16, i>>8&255, i&255)
	}
	file := filepath.Join(t.TempDir(), "routes")
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	kerneltest.Run(t, "ip -batch "+file)
	run(t, m)
	until(t, m, "lost", func(e dataplane.Event) bool { return e.Kind == dataplane.EventLost })
	kerneltest.Run(t, "ip link add later type bridge")
	until(t, m, "after the loss", func(e dataplane.Event) bool { return e.Device == "later" })
}
