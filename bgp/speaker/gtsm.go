package speaker

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/bgp"
)

// TTL security (RFC 5082) has to hold from the first packet. GoBGP sets the least TTL of a connection only after it has
// accepted it. Packets that arrive with the handshake or right after it, which may be a whole session, are not checked. So
// its listeners get a filter that drops packets with too low a TTL from peers with TTL security, including the first SYN.
// Accepted connections inherit the filter.

// netOffset is where the network header is, for a filter's loads (SKF_NET_OFF of linux/filter.h).
const netOffset = 0xfff00000

// Offsets in the network header.
const (
	ttlV4, sourceV4 = 8, 12
	ttlV6, sourceV6 = 7, 8
)

// applyTTLSecurity attaches the filter for the peers to the listeners.
func (e *embedded) applyTTLSecurity(peers []bgp.Peer) error {
	for _, six := range []bool{false, true} {
		program, left := ttlFilter(peers, six)
		if slices.Equal(program, e.filters[six]) {
			continue
		}
		if left > 0 {
			e.log.Warn("TTL security of some BGP peers begins after the connection is accepted only", "peers", left)
		}
		if err := attach(e.global.ListenPort, six, program); err != nil {
			return fmt.Errorf("limit who may connect to BGP: %w", err)
		}
		e.filters[six] = program
	}
	return nil
}

// ttlFilter returns a filter that drops packets of one IP family with too low a TTL from peers with TTL security. The
// kernel accepts unix.BPF_MAXINSNS instructions; left is the number of peers that do not fit.
func ttlFilter(peers []bgp.Peer, six bool) (program []bpf.RawInstruction, left int) {
	least := map[uint32][]netip.Addr{}
	for _, p := range peers {
		if p.TTLSecurity > 0 && p.Addr.Is6() == six {
			ttl := 256 - uint32(p.TTLSecurity)
			least[ttl] = append(least[ttl], p.Addr)
		}
	}
	accept := bpf.RetConstant{Val: 1<<32 - 1}
	var all []bpf.Instruction
	for _, ttl := range slices.Sorted(maps.Keys(least)) {
		var drops []bpf.Instruction
		for _, addr := range least[ttl] {
			drop := dropFrom(addr)
			if len(all)+len(drops)+len(drop)+4 > unix.BPF_MAXINSNS {
				left++
				continue
			}
			drops = append(drops, drop...)
		}
		offset := uint32(ttlV4)
		if six {
			offset = ttlV6
		}
		all = append(all, bpf.LoadAbsolute{Off: netOffset + offset, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: ttl, SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(drops))})
		all = append(all, drops...)
	}
	program, err := bpf.Assemble(append(all, accept))
	if err != nil {
		panic(err) // the instructions do not depend on input
	}
	return program, left
}

// dropFrom returns the instructions that drop packets from an address. They compare the last word first, in which the
// addresses of neighbours differ.
func dropFrom(addr netip.Addr) (out []bpf.Instruction) {
	octets, source := addr.AsSlice(), uint32(sourceV4)
	if addr.Is6() {
		source = sourceV6
	}
	for i := len(octets) - 4; i >= 0; i -= 4 {
		word := uint32(octets[i])<<24 | uint32(octets[i+1])<<16 | uint32(octets[i+2])<<8 | uint32(octets[i+3])
		out = append(out, bpf.LoadAbsolute{Off: netOffset + source + uint32(i), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: word, SkipTrue: uint8(1 + i/4*2)})
	}
	return append(out, bpf.RetConstant{})
}

// attach attaches a filter to the sockets of this process that listen on a port. GoBGP does not give access to its
// listeners.
func attach(port uint16, six bool, program []bpf.RawInstruction) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	attached := 0
	for _, entry := range entries {
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// With its own descriptor, the socket stays open while it is examined.
		fd, err := unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			continue // closed in the meantime
		}
		if listens(fd, port, six) {
			attached++
			err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, socketFilter(program))
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("attach filter to the socket of port %d: %w", port, err)
		}
	}
	if attached == 0 && len(program) > 1 {
		return errors.New("no socket listens on the port " + strconv.Itoa(int(port)))
	}
	return nil
}

func socketFilter(program []bpf.RawInstruction) *unix.SockFprog {
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
}

// listens reports whether a file is a socket of the IP family that listens for TCP on a port.
func listens(fd int, port uint16, six bool) bool {
	if accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || accepts == 0 {
		return false
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	switch a := addr.(type) {
	case *unix.SockaddrInet4:
		return !six && a.Port == int(port)
	case *unix.SockaddrInet6:
		return six && a.Port == int(port)
	}
	return false
}
