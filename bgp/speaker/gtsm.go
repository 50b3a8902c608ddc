package speaker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/bgp"
)

// TTL security (RFC 5082) has to hold from the first packet. GoBGP sets the least TTL of a connection only after it has
// accepted it. Packets that arrive with the handshake or right after it, which may be a whole session, are not checked.
// So its listeners get a filter that drops packets with too low a TTL from peers with TTL security, including the first
// SYN. Accepted connections inherit the filter.

// netOffset is where the network header is, for a filter's loads (SKF_NET_OFF of linux/filter.h).
const netOffset = 0xfff00000

// Offsets in the network header.
const (
	ttlV4, sourceV4 = 8, 12
	ttlV6, sourceV6 = 7, 8
)

// ttlRule says that packets from a prefix have a least TTL.
type ttlRule struct {
	from  netip.Prefix
	least uint8
}

// applyTTLSecurity attaches filters for the peers to the listeners. Sessions do not depend on the filters: if one can't
// be attached, GoBGP still checks the TTL of the connections that it has accepted.
func (e *embedded) applyTTLSecurity(peers []bgp.Peer) {
	for _, six := range []bool{false, true} {
		want := ttlRules(peers, six)
		if slices.Equal(want, e.ttlRules[six]) {
			continue
		}
		if attached, err := e.attachFilter(want, six); err != nil {
			e.log.Warn("TTL security of some BGP peers begins only after a connection is accepted; "+
				"if memory is the cause, raise the sysctl net.core.optmem_max and restart Felix",
				"error", err, "ipv6", six, "rules", len(want), "attached", attached)
		}
		e.ttlRules[six] = want
	}
}

// attachFilter attaches a filter with as many of the rules as the kernel has memory for. It returns their number, and
// the first error if it is not all of them.
func (e *embedded) attachFilter(rules []ttlRule, six bool) (attached int, first error) {
	for n := len(rules); ; n /= 2 {
		err := attach(e.global.ListenPort, six, ttlFilter(rules[:n], six))
		if err == nil {
			return n, first
		}
		if first == nil {
			first = err
		}
		if n == 0 {
			return 0, first
		}
	}
}

// ttlRules returns the rules for the peers of one IP family with TTL security. The kernel limits the memory of a filter
// (net.core.optmem_max), so neighbours with the same least TTL share the rule of their common prefix. The prefix may
// also have addresses that are no peers'. GoBGP refuses those in any case.
func ttlRules(peers []bgp.Peer, six bool) []ttlRule {
	var sources []ttlRule
	add := func(addr netip.Addr, least uint8) {
		sources = append(sources, ttlRule{netip.PrefixFrom(addr.WithZone(""), addr.BitLen()), least})
	}
	if !six {
		add(anchorAddr, 0)
	}
	for _, p := range peers {
		if !p.Addr.IsValid() || p.Addr.Is6() != six {
			continue
		}
		least := uint8(0)
		if p.TTLSecurity > 0 {
			least = uint8(256 - int(p.TTLSecurity))
		}
		add(p.Addr, least)
	}
	byAddr := func(a, b ttlRule) int { return a.from.Addr().Compare(b.from.Addr()) }
	slices.SortStableFunc(sources, byAddr)
	sources = slices.CompactFunc(sources, func(a, b ttlRule) bool { return byAddr(a, b) == 0 })
	return appendRules(nil, sources)
}

// appendRules appends the rules for sources, which are single addresses in order.
func appendRules(rules, sources []ttlRule) []ttlRule {
	if len(sources) == 0 {
		return rules
	}
	first, last := sources[0], sources[len(sources)-1]
	common := first.from
	for !common.Contains(last.from.Addr()) {
		common = netip.PrefixFrom(common.Addr(), common.Bits()-1).Masked()
	}
	if !slices.ContainsFunc(sources, func(r ttlRule) bool { return r.least != first.least }) {
		if first.least > 0 {
			rules = append(rules, ttlRule{common, first.least})
		}
		return rules
	}
	lower := netip.PrefixFrom(first.from.Addr(), common.Bits()+1)
	middle := slices.IndexFunc(sources, func(r ttlRule) bool { return !lower.Contains(r.from.Addr()) })
	return appendRules(appendRules(rules, sources[:middle]), sources[middle:])
}

// ttlFilter returns a filter that drops the packets of one IP family that break a rule. It is empty without rules.
func ttlFilter(rules []ttlRule, six bool) []bpf.RawInstruction {
	if len(rules) == 0 {
		return nil
	}
	ttl, source := uint32(ttlV4), uint32(sourceV4)
	if six {
		ttl, source = ttlV6, sourceV6
	}
	var all []bpf.Instruction
	for _, rule := range rules {
		all = append(all, ifFrom(rule.from, source, []bpf.Instruction{
			bpf.LoadAbsolute{Off: netOffset + ttl, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(rule.least), SkipTrue: 1},
			bpf.RetConstant{},
		})...)
	}
	program, err := bpf.Assemble(append(all, bpf.RetConstant{Val: 1<<32 - 1}))
	if err != nil {
		panic(err) // the instructions do not depend on input
	}
	return program
}

// ifFrom returns instructions that run then for packets from a prefix. They compare the last word first, in which
// the addresses of neighbours differ.
func ifFrom(from netip.Prefix, source uint32, then []bpf.Instruction) []bpf.Instruction {
	out, octets := then, from.Addr().AsSlice()
	for i := 0; i < len(octets) && i*8 < from.Bits(); i += 4 {
		word := binary.BigEndian.Uint32(octets[i:])
		compare := []bpf.Instruction{bpf.LoadAbsolute{Off: netOffset + source + uint32(i), Size: 4}}
		if bits := from.Bits() - i*8; bits < 32 {
			compare = append(compare, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - bits)})
		}
		compare = append(compare, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: word, SkipTrue: uint8(len(out))})
		out = append(compare, out...)
	}
	return out
}

// attach attaches a filter to the sockets of this process that listen on a port, and takes off theirs if it is empty.
// GoBGP does not give access to its listeners.
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
			err = setFilter(fd, program)
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("set filter of the socket of port %d: %w", port, err)
		}
	}
	if attached == 0 && len(program) > 0 {
		return errors.New("no socket listens on the port " + strconv.Itoa(int(port)))
	}
	return nil
}

// setFilter replaces the filter of a socket. The kernel counts the memory of the old one until the new one is attached,
// so the old one may have to go first.
func setFilter(fd int, program []bpf.RawInstruction) error {
	if len(program) > unix.BPF_MAXINSNS {
		return fmt.Errorf("%d instructions, the kernel accepts %d", len(program), unix.BPF_MAXINSNS)
	}
	if len(program) > 0 {
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, socketFilter(program))
		if !errors.Is(err, unix.ENOMEM) {
			return err
		}
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if errors.Is(err, unix.ENOENT) {
		err = nil // there was none
	}
	if err != nil || len(program) == 0 {
		return err
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, socketFilter(program))
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
