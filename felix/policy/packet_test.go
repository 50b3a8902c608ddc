package policy_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/felix/dataplane/kerneltest"
)

// probe is a packet to send: everything but its addresses and what tells it from others.
type probe struct {
	protocol uint8
	port     uint16 // destination, or type<<8 | code of ICMP
}

func (p probe) String() string { return fmt.Sprintf("protocol %d, port %d", p.protocol, p.port) }

func tcpTo(port uint16) probe       { return probe{6, port} }
func udpTo(port uint16) probe       { return probe{17, port} }
func liteTo(port uint16) probe      { return probe{136, port} }
func sctpTo(port uint16) probe      { return probe{132, port} }
func icmpOf(kind, code uint8) probe { return probe{1, uint16(kind)<<8 | uint16(code)} }
func icmp6Of(kind, code uint8) probe {
	return probe{58, uint16(kind)<<8 | uint16(code)}
}

// testProtocol has no ports and no meaning (RFC 3692).
const testProtocol = 253

// build makes the packet behind its IP header. tag becomes the source port, or ICMP's identifier.
func (p probe) build(tag uint16, src, dst netip.Addr) []byte {
	be := binary.BigEndian
	ports := func(b []byte) []byte {
		be.PutUint16(b, tag)
		be.PutUint16(b[2:], p.port)
		return b
	}
	switch p.protocol {
	case 6: // SYN
		b := ports(make([]byte, 20))
		b[12], b[13] = 5<<4, 2
		be.PutUint16(b[14:], 1000)
		be.PutUint16(b[16:], checksum(p.protocol, src, dst, b))
		return b
	case 17, 136: // with the checksum over everything
		b := ports(make([]byte, 12))
		be.PutUint16(b[4:], 12)
		be.PutUint16(b[6:], checksum(p.protocol, src, dst, b))
		return b
	case 132: // INIT (RFC 9260)
		b := ports(make([]byte, 32))
		b[12], b[15] = 1, 20
		be.PutUint32(b[16:], uint32(tag))
		be.PutUint32(b[20:], 65535)
		b[25], b[27] = 1, 1
		be.PutUint32(b[28:], 1)
		binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
		return b
	case 1, 58: // the kernel sums up that of IPv6
		b := make([]byte, 12)
		be.PutUint16(b, p.port)
		be.PutUint16(b[4:], tag)
		be.PutUint16(b[2:], ^fold(sum(0, b)))
		return b
	}
	return ports(make([]byte, 12))
}

func sum(s uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return s
}

func fold(s uint32) uint16 {
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// checksum is the Internet checksum with the pseudo-header (RFC 9293, RFC 8200).
func checksum(protocol uint8, src, dst netip.Addr, b []byte) uint16 {
	s := sum(uint32(protocol)+uint32(len(b)), src.AsSlice())
	return ^fold(sum(sum(s, dst.AsSlice()), b))
}

// tagOf finds the tag in a packet that was received, 0 if it has none.
func (p probe) tagOf(b []byte, family int) uint16 {
	if family == 4 { // with its IP header, unlike IPv6
		b = b[int(b[0]&0xf)*4:]
	}
	if p.protocol == 1 || p.protocol == 58 {
		if len(b) < 6 || binary.BigEndian.Uint16(b) != p.port {
			return 0
		}
		return binary.BigEndian.Uint16(b[4:])
	}
	return binary.BigEndian.Uint16(b)
}

// station is a network namespace from which packets are sent, and where they are looked for.
type station struct {
	name    string
	addrs   []netip.Addr // one of each family at most
	sockets map[socketKey]int
}

type socketKey struct {
	family   int
	protocol uint8
}

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return 4
	}
	return 6
}

// addr is the station's address of a family, invalid if it has none.
func (s *station) addr(family int) netip.Addr {
	for _, addr := range s.addrs {
		if familyOf(addr) == family {
			return addr
		}
	}
	return netip.Addr{}
}

// newStation opens raw sockets for all protocols in a network namespace.
func newStation(t *testing.T, name string, ns *os.File, addrs ...netip.Addr) *station {
	t.Helper()
	s := &station{name: name, addrs: addrs, sockets: map[socketKey]int{}}
	kerneltest.Do(t, ns, func() {
		for _, protocol := range []uint8{1, 58, 6, 17, 132, 136, testProtocol} {
			for family, af := range map[int]int{4: unix.AF_INET, 6: unix.AF_INET6} {
				if protocol == 1 && family == 6 || protocol == 58 && family == 4 {
					continue
				}
				fd, err := unix.Socket(af, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol))
				if err != nil {
					t.Errorf("raw socket of protocol %d: %v", protocol, err)
					return
				}
				t.Cleanup(func() { unix.Close(fd) })
				s.sockets[socketKey{family, protocol}] = fd
			}
		}
	})
	return s
}

func (s *station) send(t *testing.T, p probe, tag uint16, dst netip.Addr) {
	t.Helper()
	var to unix.Sockaddr = &unix.SockaddrInet6{Addr: dst.As16()}
	if dst.Is4() {
		to = &unix.SockaddrInet4{Addr: dst.As4()}
	}
	family := familyOf(dst)
	err := unix.Sendto(s.sockets[socketKey{family, p.protocol}], p.build(tag, s.addr(family), dst), 0, to)
	if err != nil && err != unix.EPERM { // OUTPUT dropped it
		t.Fatalf("send %v from %s to %s: %v", p, s.name, dst, err)
	}
}

// received reads what has come for a protocol and reports whether the tag is among it.
func (s *station) received(t *testing.T, p probe, tag uint16, family int) bool {
	t.Helper()
	found, buffer := false, make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(s.sockets[socketKey{family, p.protocol}], buffer, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found = found || p.tagOf(buffer[:n], family) == tag
	}
}

// wait waits until the tag has come.
func (s *station) wait(t *testing.T, p probe, tag uint16, family int) {
	t.Helper()
	const limit = 10 * time.Second
	deadline := time.Now().Add(limit)
	for !s.received(t, p, tag, family) {
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("nothing came to %s in %s: %v", s.name, limit, p)
		}
		fds := []unix.PollFd{{Fd: int32(s.sockets[socketKey{family, p.protocol}]), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

// tags tells packets apart.
var tags uint16 = 20000

func nextTag() uint16 { tags++; return tags }

// marker is what a station can always send to itself: it is a failsafe port in both directions.
var marker = tcpTo(6666)

// passes sends a packet, to an address that may be translated on the way, and reports whether it came to a station.
// That it did not is known when the marker came that the station sent to itself after it.
func passes(t *testing.T, from, to *station, p probe, dst netip.Addr) bool {
	t.Helper()
	family := familyOf(dst)
	tag, after := nextTag(), nextTag()
	from.send(t, p, tag, dst)
	to.send(t, marker, after, to.addr(family))
	if p.protocol == marker.protocol { // one socket has both
		return to.before(t, p, tag, after, family)
	}
	to.wait(t, marker, after, family)
	return to.received(t, p, tag, family)
}

// before reports whether a tag came before another, for which it waits.
func (s *station) before(t *testing.T, p probe, tag, after uint16, family int) bool {
	t.Helper()
	buffer := make([]byte, 2048)
	fd := s.sockets[socketKey{family, p.protocol}]
	timeout := unix.NsecToTimeval(int64(10 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	found := false
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			t.Fatalf("the marker did not come to %s: %v", s.name, err)
		}
		switch p.tagOf(buffer[:n], family) {
		case tag:
			found = true
		case after:
			return found
		}
	}
}
