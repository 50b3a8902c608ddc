package etcd_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/datastore/etcd"
	"github.com/maneki-net/maneki/test/etcdserver"
)

// TestDiscoveryBySRV has the process's resolver ask a server that knows _etcd-client._tcp.example.org alone.
func TestDiscoveryBySRV(t *testing.T) {
	server := etcdserver.Start(t, etcdserver.Options{})
	address, err := url.Parse(server.Endpoint(0))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(address.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	dns, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	go answerSRV(dns, "_etcd-client._tcp.example.org", uint16(port))
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", dns.LocalAddr().String())
	}}
	s := open(t, etcd.Config{DiscoverySRV: "example.org"})
	if _, err := s.Create(bounded(t), datastore.IPPools, pool("p")); err != nil {
		t.Error(err)
	}
	s = open(t, etcd.Config{DiscoverySRV: "example.com"})
	_, err = s.Get(bounded(t), datastore.IPPools, datastore.Key{Name: "p"})
	if err == nil || !strings.Contains(err.Error(), "SRV records of example.com") {
		t.Errorf("a domain without records gives %v", err)
	}
}

// answerSRV is a name server (RFC 1035, 2782) with one record: a port of localhost.
func answerSRV(dns net.PacketConn, name string, port uint16) {
	labels := ""
	for label := range strings.SplitSeq(name, ".") {
		labels += string(rune(len(label))) + label
	}
	question := make([]byte, 512)
	for {
		n, from, err := dns.ReadFrom(question)
		if err != nil {
			return
		}
		// The question without what comes after it: header, name, type and class.
		end := 12 + strings.IndexByte(string(question[12:n]), 0) + 5
		answer := append([]byte{}, question[:end]...)
		copy(answer[2:], []byte{0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0}) // no such name
		if strings.HasPrefix(string(question[12:n]), labels+"\x00") {
			copy(answer[2:], []byte{0x81, 0x80, 0, 1, 0, 1})
			answer = append(answer, 0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 17, 0, 1, 0, 1)
			answer = binary.BigEndian.AppendUint16(answer, port)
			answer = append(answer, "\x09localhost\x00"...)
		}
		if _, err := dns.WriteTo(answer, from); err != nil {
			return
		}
	}
}
