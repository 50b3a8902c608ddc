package cniplugin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/maneki-net/maneki/api/backoff"
	"github.com/maneki-net/maneki/cni-plugin/protocol"
)

// How long the plugin waits. The runtime's own limit for a pod's sandbox is minutes.
const (
	connectWait  = 30 * time.Second // ADD: for Felix to come up
	answerWait   = 90 * time.Second // from the request to the answer
	deleteWait   = 20 * time.Second // the same for DEL, which can be spooled
	firstBackoff = 10 * time.Millisecond
	maxBackoff   = 250 * time.Millisecond
)

// forward passes the request to Felix and gives its result.
func forward(request *protocol.Request, config *networkConfig) ([]byte, error) {
	if request.Command == "DEL" {
		return nil, forwardDelete(request, config)
	}
	var netns *os.File
	if request.Command == "ADD" || request.Command == "CHECK" {
		var err error
		netns, err = openNamespace(request.NetNS)
		if err != nil {
			return nil, err
		}
		defer netns.Close()
	}
	response, err := exchange(request, netns, config.Socket, answerWait)
	if request.Command == "ADD" {
		// Felix may be starting, or may have been restarted in the middle; a repeated ADD is harmless.
		deadline, waits := time.Now().Add(connectWait), backoff.Backoff{First: firstBackoff, Last: maxBackoff}
		for isDown(err) && time.Now().Before(deadline) {
			time.Sleep(waits.Next())
			response, err = exchange(request, netns, config.Socket, answerWait)
		}
	}
	if err != nil {
		return nil, felixDown(request.Command, config.Socket, err)
	}
	if response.Error != nil {
		return nil, response.Error
	}
	return response.Result, nil
}

// forwardDelete passes a DEL to Felix, or leaves it in the spool: the runtime must be able to
// remove a pod whatever the state of this node's agent.
func forwardDelete(request *protocol.Request, config *networkConfig) error {
	response, err := exchange(request, nil, config.Socket, deleteWait)
	if err == nil && response.Error == nil {
		return nil
	}
	if err == nil && response.Error.Code != protocol.CodeTryAgain {
		return response.Error
	}
	return protocol.WriteSpool(config.Spool, request)
}

func exchange(request *protocol.Request, netns *os.File, socket string, limit time.Duration) (*protocol.Response,
	error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	if err := protocol.WriteRequest(conn, request, netns); err != nil {
		return nil, err
	}
	return protocol.ReadResponse(conn)
}

// isDown reports whether Felix does not listen, went away before it answered, or has its queue of
// connections full (EAGAIN).
func isDown(err error) bool {
	for _, down := range []error{fs.ErrNotExist, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE,
		syscall.EAGAIN, protocol.ErrNoAnswer} {
		if errors.Is(err, down) {
			return true
		}
	}
	return false
}

func felixDown(command, socket string, err error) error {
	code, msg := protocol.CodeTryAgain, "Felix, the node's agent, did not answer at "+socket+
		"; is the calico-node pod of this node running?"
	switch {
	case command == "STATUS":
		code = protocol.CodeNotAvailable
	case errors.Is(err, fs.ErrPermission):
		code, msg = protocol.CodeIO, "the plugin may not use Felix's socket "+socket+"; it must run as root"
	}
	return &protocol.Error{Code: code, Msg: msg, Details: err.Error()}
}

// openNamespace opens a network namespace, whose descriptor Felix gets.
func openNamespace(path string) (*os.File, error) {
	netns, err := os.Open(path)
	if err != nil {
		code := protocol.CodeInvalidEnvironment
		return nil, &protocol.Error{Code: code, Msg: fmt.Sprintf("environment variable CNI_NETNS=%q is invalid", path),
			Details: "must be the path of a network namespace: " + err.Error()}
	}
	return netns, nil
}
