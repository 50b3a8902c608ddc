// Package protocol is what the CNI plugin and Felix say to each other over Felix's unix
// socket: one request and one response a connection, each a 4-octet big-endian length
// followed by JSON.
//
// The plugin passes the pod's network namespace as an open file descriptor (SCM_RIGHTS)
// with the request's first octet, so that Felix, in its own mount namespace, needs no view
// of /run/netns. The package imports nothing but the standard library: the plugin stays small.
package protocol

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// DefaultSocket is where Felix listens, on the host.
const DefaultSocket = "/var/run/calico/felix-cni.sock"

// DefaultSpool is the directory where the plugin leaves a DEL that Felix did not answer,
// one JSON Request a file named by container and interface; Felix carries it out later.
const DefaultSpool = "/var/lib/calico/cni/deleted"

// maxMessage bounds a message, in octets.
const maxMessage = 4 << 20

// Request is one CNI command as the runtime gave it (CNI specification 1.1).
type Request struct {
	Command     string `json:"command"` // ADD, DEL, CHECK, STATUS, GC
	ContainerID string `json:"containerID,omitempty"`
	NetNS       string `json:"netns,omitempty"` // as given; for messages
	IfName      string `json:"ifName,omitempty"`
	Args        string `json:"args,omitempty"` // CNI_ARGS
	// Config is the network configuration of standard input, prevResult included.
	Config json.RawMessage `json:"config,omitempty"`
}

// Response carries a result or an error. Result is a CNI result of the version that the
// configuration asks for, and is empty for commands without one.
type Response struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// Error is a CNI error object.
type Error struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error returns the message with its details.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Details
}

// The CNI error codes used (CNI specification, section "Error").
const (
	CodeIncompatibleVersion uint = 1
	CodeUnsupportedField    uint = 2
	CodeUnknownContainer    uint = 3
	CodeInvalidEnvironment  uint = 4
	CodeIO                  uint = 5
	CodeDecode              uint = 6
	CodeInvalidConfig       uint = 7
	CodeTryAgain            uint = 11
	CodeNotAvailable        uint = 50
	CodeInternal            uint = 100 // first code a plugin may define
	CodeNoAddress           uint = 101 // no pool has a free address
)

// WriteRequest sends a request, with netns when it is not nil.
func WriteRequest(conn *net.UnixConn, req *Request, netns *os.File) error {
	message, err := frame(req)
	if err != nil {
		return err
	}
	var rights []byte
	if netns != nil {
		rights = syscall.UnixRights(int(netns.Fd()))
	}
	n, _, err := conn.WriteMsgUnix(message, rights, nil)
	if err == nil && n < len(message) {
		_, err = conn.Write(message[n:])
	}
	if err != nil {
		return fmt.Errorf("send %s request: %w", req.Command, err)
	}
	return nil
}

// ReadRequest receives a request and the namespace that came with it, or nil. The caller
// closes the file.
func ReadRequest(conn *net.UnixConn) (*Request, *os.File, error) {
	var head [4]byte
	oob := make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(head[:], oob)
	if err != nil {
		return nil, nil, fmt.Errorf("receive request: %w", err)
	}
	netns, err := receivedFile(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	req := &Request{}
	_, err = io.ReadFull(conn, head[n:])
	if err == nil {
		err = readBody(conn, head, req)
	}
	if err != nil {
		if netns != nil {
			netns.Close()
		}
		return nil, nil, fmt.Errorf("receive request: %w", err)
	}
	return req, netns, nil
}

// WriteResponse sends a response.
func WriteResponse(w io.Writer, resp *Response) error {
	message, err := frame(resp)
	if err != nil {
		return err
	}
	_, err = w.Write(message)
	if err != nil {
		return fmt.Errorf("send response: %w", err)
	}
	return nil
}

// ErrNoAnswer says that the connection ended before the response.
var ErrNoAnswer = errors.New("connection closed before the response")

// ReadResponse receives a response, or fails with ErrNoAnswer.
func ReadResponse(r io.Reader) (*Response, error) {
	var head [4]byte
	resp := &Response{}
	_, err := io.ReadFull(r, head[:])
	if err == nil {
		err = readBody(r, head, resp)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrNoAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("receive response: %w", err)
	}
	return resp, nil
}

func frame(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...), nil
}

func readBody(r io.Reader, head [4]byte, v any) error {
	size := binary.BigEndian.Uint32(head[:])
	if size > maxMessage {
		return fmt.Errorf("message of %d octets exceeds %d", size, maxMessage)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

func receivedFile(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive namespace: %w", err)
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err == nil && len(fds) == 1 {
			syscall.CloseOnExec(fds[0])
			return os.NewFile(uintptr(fds[0]), "netns"), nil
		}
	}
	return nil, errors.New("receive namespace: control message carries no file descriptor")
}
