package certfile

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// lookInterval is the least time between two checks of the files' attributes.
const lookInterval = time.Second

// maxSize is the largest file that is read, in octets: a Secret's limit.
const maxSize = 1 << 20

// files is a value that is parsed from the contents of files.
type files[T any] struct {
	names []string
	parse func(contents [][]byte) (T, error)

	mu     sync.Mutex
	looked time.Time     // when the attributes were last checked
	seen   []os.FileInfo // attributes of the files that value was read from
	value  T
	usable bool  // value was read at least once
	err    error // why the present contents of the files are not in use
}

// get returns the value of the newest files that could be used.
func (f *files[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	if !f.usable {
		return f.value, f.err
	}
	return f.value, nil
}

// Err returns why the present contents of the files are not in use, or nil if they are.
func (f *files[T]) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return f.err
}

// refresh reads the files if they have changed. Unusable files are tried again at each check.
func (f *files[T]) refresh() {
	now := time.Now()
	if !f.looked.IsZero() && now.Sub(f.looked) < lookInterval {
		return
	}
	f.looked = now
	// The attributes are read before the contents: a change in between shows at the next check.
	current, err := f.stat()
	if err == nil && f.err == nil && same(f.seen, current) {
		return
	}
	var value T
	if err == nil {
		value, err = f.read()
	}
	f.err = err
	if err == nil {
		f.value, f.usable, f.seen = value, true, current
	}
}

func (f *files[T]) stat() ([]os.FileInfo, error) {
	var current []os.FileInfo
	for _, name := range f.names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("load certificate: %w", err)
		}
		if info.Size() > maxSize {
			return nil, fmt.Errorf("load certificate %s: it has %d octets, more than the %d of a Secret",
				name, info.Size(), maxSize)
		}
		current = append(current, info)
	}
	return current, nil
}

func (f *files[T]) read() (value T, err error) {
	var contents [][]byte
	for _, name := range f.names {
		content, err := os.ReadFile(name)
		if err != nil {
			return value, fmt.Errorf("load certificate: %w", err)
		}
		contents = append(contents, content)
	}
	return f.parse(contents)
}

// same reports whether the attributes show that the files have not changed.
func same(seen, current []os.FileInfo) bool {
	if len(seen) != len(current) {
		return false
	}
	for i, info := range current {
		if !os.SameFile(seen[i], info) || seen[i].Size() != info.Size() || !seen[i].ModTime().Equal(info.ModTime()) {
			return false
		}
	}
	return true
}
