package daemon

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

const sourcesAnnotation = "cni.projectcalico.org/allowedSourcePrefixes"

// udpFrom returns an IPv4 packet with a UDP datagram to port 9 (RFC 768: no checksum).
func udpFrom(src, dst netip.Addr, text string) []byte {
	b := make([]byte, 28+len(text))
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[20:], 40000)
	binary.BigEndian.PutUint16(b[22:], 9)
	binary.BigEndian.PutUint16(b[24:], uint16(8+len(text)))
	copy(b[28:], text)
	return b
}

// sink receives datagrams on port 9 of a namespace.
type sink struct{ conn *net.UDPConn }

func newSink(t *testing.T, p *pod) sink {
	t.Helper()
	var s sink
	kerneltest.Do(t, p.ns, func() {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 9})
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { conn.Close() })
		s.conn = conn
	})
	return s
}

// senders returns which of the sources get a packet from a pod to the sink: one is sent from each, and then one from
// the pod's own address, which always passes and comes last.
func (s sink) senders(t *testing.T, from *pod, to netip.Addr, sources []string) (passed []string) {
	t.Helper()
	last := fmt.Sprint("last ", time.Now().UnixNano())
	kerneltest.Do(t, from.ns, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		send := func(src netip.Addr, text string) {
			if err := unix.Sendto(fd, udpFrom(src, to, text), 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
				t.Error(err)
			}
		}
		for _, source := range sources {
			send(netip.MustParseAddr(source), source)
		}
		send(from.addrs[0], last)
	})
	_ = s.conn.SetReadDeadline(time.Now().Add(limit))
	buffer := make([]byte, 200)
	for {
		n, _, err := s.conn.ReadFrom(buffer)
		if err != nil {
			t.Fatalf("what pod %s sends from its own address does not come: %v", from.name, err)
		}
		if text := string(buffer[:n]); text == last {
			return passed
		} else if !strings.HasPrefix(text, "last ") {
			passed = append(passed, text)
		}
	}
}

// TestSourcesOfAnnotation: with workloadSourceSpoofing Any a pod may send from the networks that its annotation lists
// and from no others. Without the setting, without the annotation, and with one that cannot be read in part, it may
// send from its own address alone.
func TestSourcesOfAnnotation(t *testing.T) {
	l := newLab(t)
	n1 := l.addNode(t, "n1", "lan0", "172.30.0.11", "fd00:30::11")
	listed := n1.addPod(t, "listed", sourcesAnnotation, `["10.99.0.0/24","198.51.100.7"]`)
	plain, broken := n1.addPod(t, "plain"), n1.addPod(t, "broken", sourcesAnnotation, `["10.99.0.0/24","10.99.0"]`)
	server := n1.addPod(t, "server")
	s := newSink(t, server)
	sources := []string{"10.99.0.3", "198.51.100.7", "198.51.100.8", "10.99.1.3",
		plain.addrs[0].String(), "172.30.0.11"}
	check := func(want ...string) {
		t.Helper()
		eventually(t, func() error {
			if got := s.senders(t, listed, server.addrs[0], sources); !slices.Equal(got, want) {
				return fmt.Errorf("from the pod with the annotation come %v, want %v", got, want)
			}
			return nil
		})
		for _, p := range []*pod{plain, broken} {
			if got := s.senders(t, p, server.addrs[0], append(sources[:4:4], listed.addrs[0].String())); len(got) > 0 {
				t.Errorf("from pod %s comes %v", p.name, got)
			}
		}
	}
	notices := func() string {
		status, err := n1.agent.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(status.Notices, "\n")
	}
	check()
	const ignored = "shop/listed: allowed source prefixes [10.99.0.0/24 198.51.100.7/32] have no effect"
	if got := notices(); !strings.Contains(got, ignored) {
		t.Errorf("with the setting Disabled the notices are %q", got)
	}

	spoofing := "Any"
	l.create(t, datastore.FelixConfigurations, &v3.FelixConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v3.FelixConfigurationSpec{WorkloadSourceSpoofing: &spoofing}})
	check("10.99.0.3", "198.51.100.7")
	if got := notices(); got != "" {
		t.Errorf("with the setting Any the notices are %q", got)
	}
	// The kernel of a node that filters on all interfaces drops them, and the node says so.
	n1.do(t, func() { kerneltest.Run(t, "sysctl -qw net.ipv4.conf.all.rp_filter=2") })
	check()
	if got := notices(); !strings.Contains(got, "net.ipv4.conf.all.rp_filter") {
		t.Errorf("with rp_filter on all interfaces the notices are %q", got)
	}

	err := l.store.Delete(t.Context(), datastore.FelixConfigurations, datastore.Key{Name: "default"},
		datastore.Preconditions{})
	if err != nil {
		t.Fatal(err)
	}
	check()
}
