package speaker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// TestMaximumPrefixes: a peer that announces too much loses its session, for a while, with a CEASE that says why
// (RFC 4486), and nothing of it is kept. Another one is as before.
func TestMaximumPrefixes(t *testing.T) {
	t.Parallel()
	l := newLab(t, 3)
	var many []string
	for i := range 21 {
		many = append(many, fmt.Sprintf("192.0.2.%d/32", i))
	}
	greedy := l.bird(2, statics(append(many[:19:19], "fd31::/64")...)+
		fmt.Sprintf("protocol static more { ipv4; route %s blackhole; route %s blackhole; }\n", many[19], many[20])+
		external("v4", 65002, "10.91.0.1", 64512, "ipv4")+external("v6", 65002, "fd91::1", 64512, "ipv6"))
	l.bird(3, statics("172.31.0.0/24")+external("v4", 65003, "10.91.0.1", 64512, "ipv4"))
	node := l.speaker(1)
	c := config(1, 64512, "10.244.0.0/26")
	c.Peers = append(peers(1, 2, 65002), peers(1, 3, 65003)[0])
	for i := range c.Peers {
		c.Peers[i].MaxPrefixes = 20
	}
	node.configure(c)
	r := node.wait("the session is closed, and why", func(r report) bool {
		return len(r.Status.Peers) == 3 && strings.Contains(r.Status.Peers[0].Error, "more than 20 routes") &&
			len(r.Routes) == 2
	})
	if !hasRoute(r, "fd31::/64", hostAddr(2, 6)) || !hasRoute(r, "172.31.0.0/24", hostAddr(3, 4)) {
		t.Errorf("other sessions lost their routes: %+v", r.Routes)
	}
	greedy.wait("the peer is told", "show protocols all v4",
		func(s string) bool { return strings.Contains(s, "Received: Maximum number of prefixes reached") })
	node.wait("the session is tried again, in vain", func(r report) bool { return r.Status.Peers[0].Error == "" })
	node.wait("and closed again", func(r report) bool { return r.Status.Peers[0].Error != "" && len(r.Routes) == 2 })
	greedy.do("disable more")
	node.wait("it is open again when the peer has become modest", func(r report) bool {
		return r.Status.Peers[0].Error == "" && hasRoute(r, many[0], hostAddr(2, 4)) && len(r.Routes) == 2+19
	})
}

// A stranger is this program in a namespace of its own. It connects to a speaker as a node whose address it has been
// given, says nothing or tries to open a session, and writes what comes of it.
const (
	strangerVariable = "MKT_STRANGER"
	mute             = "mute"      // says nothing
	talkative        = "talkative" // opens a session
	asking           = "asking"    // then asks for the speaker's routes, again and again
	flapping         = "flapping"  // opens sessions and closes them
)

func stranger() {
	manner := os.Getenv(strangerVariable)
	for {
		err := visit(manner)
		fmt.Println("closed:", err)
		if manner != flapping {
			return
		}
	}
}

// visit is one connection of a stranger.
func visit(manner string) error {
	conn, err := net.DialTimeout("tcp", "10.91.0.2:179", 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if manner != flapping {
		fmt.Println("connected")
	}
	if manner == mute {
		conn.Read(make([]byte, 1<<16)) // the speaker's OPEN
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	err = openSession(conn, 64512, netip.MustParseAddr("10.91.0.1"), 90, packet.NewCapRouteRefresh())
	if manner == flapping {
		return err
	}
	fmt.Println("session:", err)
	conn.SetDeadline(time.Time{})
	if manner == asking {
		refresh, err := packet.NewBGPRouteRefreshMessage(packet.AFI_IP, 0, packet.SAFI_UNICAST).Serialize()
		if err != nil {
			return err
		}
		conn.Write(bytes.Repeat(refresh, 1000))
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// masqueraded has a pod behind host 1, whose packets to host 2 come from host 1's address.
func masqueraded(l *lab) {
	l.addNamespace("pod")
	host, pod := l.ns("1"), l.ns("pod")
	l.ip("link", "add", "cali0", "netns", host, "type", "veth", "peer", "name", "eth0", "netns", pod)
	l.ip("-n", host, "link", "set", "cali0", "up")
	l.ip("-n", host, "addr", "add", "192.0.2.1/32", "dev", "cali0")
	l.ip("-n", host, "route", "add", "10.244.1.5", "dev", "cali0")
	l.ip("-n", pod, "link", "set", "eth0", "up")
	l.ip("-n", pod, "addr", "add", "10.244.1.5/32", "dev", "eth0")
	l.ip("-n", pod, "route", "add", "192.0.2.1", "dev", "eth0")
	l.ip("-n", pod, "route", "add", "default", "via", "192.0.2.1", "dev", "eth0")
	l.output("ip", "netns", "exec", host, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	l.output("ip", "netns", "exec", host, "iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-s", "10.244.0.0/16", "-j",
		"MASQUERADE", "--random-fully")
}

// stranger starts one in a namespace and waits for what it writes, a line at a time.
func (l *lab) stranger(ns, manner string) func(want string) string {
	l.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", l.ns(ns), os.Args[0])
	cmd.Env = append(os.Environ(), strangerVariable+"="+manner)
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { kill(cmd) })
	lines := make(chan string, 10)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	return func(want string) string {
		l.t.Helper()
		select {
		case line := <-lines:
			if !strings.HasPrefix(line, want) {
				l.t.Fatalf("the stranger says %q, want %q", line, want)
			}
			return line
		case <-time.After(patience):
			l.t.Fatalf("the stranger does not say %q in %s", want, patience)
		}
		return ""
	}
}

// TestPodBehindNodeGetsNoSession: a pod whose node translates its address is, to another node, that node. While the
// node's speaker is away the pod gets neither a connection, whatever it sends in its first packets, nor the node's
// place.
func TestPodBehindNodeGetsNoSession(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	masqueraded(l)
	two := waiting(l)
	// Without TTL security the pod has the session: the test can tell.
	says := l.stranger("pod", talkative)
	says("connected")
	says("session: <nil>")
	two.wait("it is the pod's", func(r report) bool { return r.Status.Peers[0].State == "Established" })

	c2 := config(2, 64512, "10.244.2.0/26")
	c2.Pools = parsePrefixes("10.244.0.0/16")
	c2.Confirmed = map[string][]netip.Prefix{"n1": parsePrefixes("10.244.1.0/26")}
	c2.Peers = peers(2, 1, 64512)
	for i := range c2.Peers {
		c2.Peers[i].Node, c2.Peers[i].Mesh, c2.Peers[i].TTLSecurity = "n1", true, 1
	}
	two.configure(c2)
	two.wait("the pod has no session any more", func(r report) bool {
		return len(r.Status.Peers) == 2 && r.Status.Peers[0].State == "Active" && r.Status.Peers[1].State == "Active"
	})
	l.stranger("pod", talkative)("closed: dial tcp 10.91.0.2:179: i/o timeout")
	one, c1 := l.speaker(1), config(1, 64512, "10.244.1.0/26", "fd00:244:1::/122")
	c1.Peers = peers(1, 2, 64512)
	for i := range c1.Peers {
		c1.Peers[i].Node, c1.Peers[i].Mesh, c1.Peers[i].TTLSecurity = "n2", true, 1
	}
	c1.Pools, c1.Confirmed = c2.Pools, map[string][]netip.Prefix{"n2": parsePrefixes("10.244.2.0/26")}
	c2.Confirmed["n1"] = append(c2.Confirmed["n1"], netip.MustParsePrefix("fd00:244:1::/122"))
	two.configure(c2)
	one.configure(c1)
	two.wait("the node has its sessions", func(r report) bool {
		return hasRoute(r, "10.244.1.0/26", hostAddr(1, 4)) && hasRoute(r, "fd00:244:1::/122", hostAddr(1, 6))
	})
	one.wait("at its end too", func(r report) bool { return hasRoute(r, "10.244.2.0/26", hostAddr(2, 4)) })
}

// TestSilentConnection: a connection over which nothing comes does not keep the peer out.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	two := waiting(l)
	says := l.stranger("1", mute)
	says("connected")
	two.wait("the stranger has the place", func(r report) bool { return r.Status.Peers[0].State == "OpenSent" })
	one, c := l.speaker(1), config(1, 64512, "10.244.1.0/26")
	c.Peers = peers(1, 2, 64512)[:1]
	c.Peers[0].Mesh, c.Peers[0].Node = true, "n2"
	one.configure(c)
	says("closed:")
	two.wait("the peer has its session", func(r report) bool { return hasRoute(r, "10.244.1.0/26", hostAddr(1, 4)) })
}

// waiting is a speaker on host 2 for a peer on host 1.
func waiting(l *lab) *process {
	l.t.Helper()
	node, c := l.speaker(2), config(2, 64512, "10.244.2.0/26")
	c.Peers = peers(2, 1, 64512)[:1]
	c.Peers[0].Mesh, c.Peers[0].Node = true, "n1" // the other end does not connect itself then
	c.Confirmed = map[string][]netip.Prefix{"n1": parsePrefixes("10.244.1.0/26")}
	node.configure(c)
	node.wait("the peer is waited for", func(r report) bool {
		return len(r.Status.Peers) == 1 &&
			r.Status.Peers[0].State == "Active"
	})
	return node
}

// TestRefreshStorm: a peer that asks for all routes again and again loses its session, and may try again later.
func TestRefreshStorm(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	node := waiting(l)
	says := l.stranger("1", asking)
	says("connected")
	says("session: <nil>")
	says("closed:")
	node.wait("why it is closed", func(r report) bool {
		return strings.Contains(r.Status.Peers[0].Error,
			"asked for all routes")
	})
	node.wait("it may try again", func(r report) bool {
		return r.Status.Peers[0].Error == "" &&
			r.Status.Peers[0].State == "Active"
	})
	says = l.stranger("1", talkative)
	says("connected")
	says("session: <nil>")
	node.wait("it has a session", func(r report) bool { return r.Status.Peers[0].State == "Established" })
}

// TestFlappingPeer: a peer is made ready at once when it has lost a session, and not when it loses one after the other.
func TestFlappingPeer(t *testing.T) {
	t.Parallel()
	l := newLab(t, 2)
	waiting(l)
	says := l.stranger("1", flapping)
	session := func() time.Time {
		for says("closed: ") != "closed: <nil>" {
		}
		return time.Now()
	}
	for range flaps - 1 {
		session()
	}
	last := session()
	if next := session(); next.Sub(last) < 4*time.Second {
		t.Errorf("a session more after %s, want GoBGP's five seconds", next.Sub(last))
	}
}
