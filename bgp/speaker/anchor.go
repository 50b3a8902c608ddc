package speaker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// anchorAddr is the address of both ends of the anchor's session.
var anchorAddr = netip.MustParseAddr("127.0.0.1")

// anchorTimeout bounds the wait for a session over the loopback device.
const anchorTimeout = 3 * time.Second

// anchor is a session with ourselves over the loopback device that never sends an End-of-RIB. GoBGP
// considers a restart over for all peers, and tells those not connected yet that forwarding was not
// preserved, once every connected peer has sent its End-of-RIB: the first peer back would make
// all others drop the node's routes. The anchor is connected before any of them and keeps
// GoBGP restarting until the speaker says otherwise.
type anchor struct{ conn net.Conn }

// dropAnchor connects the anchor; it does nothing when there is one.
func (e *embedded) dropAnchor(ctx context.Context) error {
	if e.anchor != nil {
		return nil
	}
	err := e.bgp.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: anchorAddr.String(), PeerAsn: e.global.ASNumber,
			Description: "restart anchor"},
		Transport: &api.Transport{PassiveMode: true},
		GracefulRestart: &api.GracefulRestart{
			Enabled: true, RestartTime: 1, DeferralTime: 65535, LocalRestarting: true,
		},
		AfiSafis: []*api.AfiSafi{{
			Config:            &api.AfiSafiConfig{Family: family(anchorAddr), Enabled: true},
			MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}},
		}},
	}})
	if err != nil {
		return fmt.Errorf("add restart anchor: %w", err)
	}
	e.anchor = &anchor{}
	ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
	defer cancel()
	// The server turns connections away until the new peer has left its Idle state.
	for {
		e.anchor.conn, err = connectAnchor(ctx, e.global.ListenPort, e.global.ASNumber, e.global.RouterID)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			e.raiseAnchor(context.WithoutCancel(ctx))
			return fmt.Errorf("connect restart anchor: %w", errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// raiseAnchor ends the anchor's session; from now on GoBGP considers the restart over.
func (e *embedded) raiseAnchor(ctx context.Context) {
	if e.anchor == nil {
		return
	}
	if err := e.bgp.DeletePeer(ctx, &api.DeletePeerRequest{Address: anchorAddr.String()}); err != nil {
		e.log.Warn("restart anchor not removed", "error", err)
	}
	if e.anchor.conn != nil {
		e.anchor.conn.Close()
	}
	e.anchor = nil
}

// connectAnchor opens the session: OPEN and KEEPALIVE both ways. A hold time of 0 means that no
// KEEPALIVE is due afterwards (RFC 4271 section 4.2).
func connectAnchor(ctx context.Context, port uint16, asn uint32, routerID netip.Addr) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: anchorAddr.AsSlice()}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(anchorAddr.String(), strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if err := openAnchor(conn, asn, routerID); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	// Read until the session ends, so that the server never blocks on it.
	go io.Copy(io.Discard, conn)
	return conn, nil
}

func openAnchor(conn net.Conn, asn uint32, routerID netip.Addr) error {
	return openSession(conn, asn, routerID, 0)
}

// openSession opens a session with graceful restart for IPv4, and with further capabilities.
func openSession(conn net.Conn, asn uint32, routerID netip.Addr, hold uint16,
	more ...packet.ParameterCapabilityInterface) error {
	capabilities := append([]packet.ParameterCapabilityInterface{
		packet.NewCapMultiProtocol(packet.RF_IPv4_UC),
		packet.NewCapFourOctetASNumber(asn),
		packet.NewCapGracefulRestart(false, false, 1,
			[]*packet.CapGracefulRestartTuple{packet.NewCapGracefulRestartTuple(packet.RF_IPv4_UC, false)}),
	}, more...)
	shortASN := uint16(packet.AS_TRANS)
	if asn <= 65535 {
		shortASN = uint16(asn)
	}
	open, err := packet.NewBGPOpenMessage(shortASN, hold, otherID(routerID),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(capabilities)}).Serialize()
	if err != nil {
		return fmt.Errorf("encode OPEN: %w", err)
	}
	keepalive, err := packet.NewBGPKeepAliveMessage().Serialize()
	if err != nil {
		return fmt.Errorf("encode KEEPALIVE: %w", err)
	}
	if _, err := conn.Write(open); err != nil {
		return fmt.Errorf("send OPEN: %w", err)
	}
	if err := expect(conn, packet.BGP_MSG_OPEN); err != nil {
		return err
	}
	if _, err := conn.Write(keepalive); err != nil {
		return fmt.Errorf("send KEEPALIVE: %w", err)
	}
	return expect(conn, packet.BGP_MSG_KEEPALIVE)
}

// otherID is an identifier that differs from the speaker's, as two of one AS must.
func otherID(id netip.Addr) string {
	octets := id.As4()
	octets[3] ^= 1
	return netip.AddrFrom4(octets).String()
}

// expect reads one message, which must be of the type given.
func expect(conn net.Conn, want uint8) error {
	header := make([]byte, packet.BGP_HEADER_LENGTH)
	if _, err := io.ReadFull(conn, header); err != nil {
		return fmt.Errorf("read BGP message: %w", err)
	}
	length, got := binary.BigEndian.Uint16(header[16:18]), header[18]
	if length < packet.BGP_HEADER_LENGTH {
		return fmt.Errorf("read BGP message: length %d is less than a header's", length)
	}
	if _, err := io.CopyN(io.Discard, conn, int64(length)-packet.BGP_HEADER_LENGTH); err != nil {
		return fmt.Errorf("read BGP message: %w", err)
	}
	if got != want {
		return fmt.Errorf("read BGP message: got type %d, want %d", got, want)
	}
	return nil
}
