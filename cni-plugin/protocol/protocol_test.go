package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pair gives both ends of a connection.
func pair(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err = net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func TestRequestCarriesTheNamespace(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	large := json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`) // more than a socket's buffer
	for name, netns := range map[string]*os.File{"with": file, "without": nil} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			want := &Request{Command: "ADD", ContainerID: "c", Config: large}
			sent := make(chan error, 1)
			go func() { sent <- WriteRequest(client, want, netns) }()
			got, received, err := ReadRequest(server)
			if err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("request differs")
			}
			if (received != nil) != (netns != nil) {
				t.Fatalf("received file %v, sent %v", received, netns)
			}
			if received != nil {
				defer received.Close()
				a, _ := received.Stat()
				b, _ := netns.Stat()
				if !os.SameFile(a, b) {
					t.Error("received another file")
				}
			}
		})
	}
}

func TestReadRequestRefuses(t *testing.T) {
	tooLarge := binary.BigEndian.AppendUint32(nil, maxMessage+1)
	for name, tt := range map[string]struct {
		octets []byte
		want   string
	}{
		"nothing":     {nil, "receive request"},
		"half a head": {[]byte{0, 0}, "EOF"},
		"half a body": {[]byte{0, 0, 0, 9, '{'}, "EOF"},
		"no JSON":     {[]byte{0, 0, 0, 1, 'x'}, "invalid character"},
		"too large":   {tooLarge, "exceeds 4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			if _, err := client.Write(tt.octets); err != nil {
				t.Fatal(err)
			}
			client.Close()
			if _, _, err := ReadRequest(server); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestNoAnswerIsTold(t *testing.T) {
	for _, octets := range [][]byte{nil, {0, 0}, {0, 0, 0, 9, '{'}} {
		if _, err := ReadResponse(bytes.NewReader(octets)); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("after %v: got %v, want ErrNoAnswer", octets, err)
		}
	}
}

func TestReadSpoolReportsWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	if err := WriteSpool(dir, &Request{Command: "DEL", ContainerID: "c", IfName: "eth0"}); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.json")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSpool(dir)
	if err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("got error %v, want one that names %s", err, broken)
	}
	want := map[string]*Request{broken: nil,
		filepath.Join(dir, SpoolName("c", "eth0")): {Command: "DEL", ContainerID: "c", IfName: "eth0"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spool differs (-want +got):\n%s", diff)
	}
}

func FuzzReadResponse(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		if response, err := ReadResponse(bytes.NewReader(data)); err == nil && response == nil {
			t.Error("neither response nor error")
		}
	})
}
