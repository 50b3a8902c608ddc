package protocol

import (
	"crypto/sha1" //nolint:gosec // a name, not a secret
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// SpoolName is the file name, within the spool, of a DEL for a container's interface. It is a
// hash: a container ID may be longer than a file name.
func SpoolName(containerID, ifName string) string {
	sum := sha1.Sum([]byte(containerID + "/" + ifName)) //nolint:gosec // a name, not a secret
	return hex.EncodeToString(sum[:]) + ".json"
}

// WriteSpool leaves a DEL in the directory, which is made when missing. The file appears whole or
// not at all. It is not synced: after a power failure no pod is left whose DEL could be lost.
func WriteSpool(dir string, request *Request) error {
	body, err := json.Marshal(request)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = WriteFileAtomic(filepath.Join(dir, SpoolName(request.ContainerID, request.IfName)), body, 0o600)
	}
	if err != nil {
		return fmt.Errorf("spool %s of container %s: %w", request.Command, request.ContainerID, err)
	}
	return nil
}

// ReadSpool returns the spooled requests by file path. A file that cannot be read as a request
// is in the map with a nil request, and the joined error says why.
func ReadSpool(dir string) (map[string]*Request, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	requests := map[string]*Request{}
	var errs []error
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".json") {
			continue // being written
		}
		path := filepath.Join(dir, entry.Name())
		request := &Request{}
		body, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(body, request)
		}
		if err != nil {
			request = nil
			errs = append(errs, fmt.Errorf("read spooled request %s: %w", path, err))
		}
		requests[path] = request
	}
	return requests, errors.Join(errs...)
}

// WriteFileAtomic writes a file so that a reader sees the old content or the new, never a part.
func WriteFileAtomic(path string, content []byte, mode fs.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	if err == nil {
		err = temporary.Chmod(mode)
	}
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // the first error says what is wrong
	}
	return err
}
