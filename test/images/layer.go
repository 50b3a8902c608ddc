package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// layer is an uncompressed tar in the cache, with what it was made from.
type layer struct {
	// Key identifies the inputs.
	Key string
	// Digest is the tar's SHA-256 in hexadecimal, Size its length in bytes.
	Digest string
	Size   int64
	path   string
}

// cachedLayer returns the layer at path if it was made from key, or else makes it
// by calling write.
func cachedLayer(path, key string, write func(io.Writer) error) (layer, error) {
	l := layer{path: path}
	body, err := os.ReadFile(path + ".json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("read cached layer: %w", err)
	}
	// A record that can't be read is as good as none.
	if err == nil && json.Unmarshal(body, &l) == nil && l.Key == key {
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return l, fmt.Errorf("make layer cache: %w", err)
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return l, fmt.Errorf("write layer: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if err := write(io.MultiWriter(f, h)); err != nil {
		return l, err
	}
	l.Size, err = f.Seek(0, io.SeekCurrent)
	if err != nil {
		return l, fmt.Errorf("write layer: %w", err)
	}
	l.Key, l.Digest = key, hex.EncodeToString(h.Sum(nil))
	body, err = json.Marshal(l)
	if err != nil {
		return l, fmt.Errorf("encode layer record: %w", err)
	}
	// The record goes first and comes last: it never describes another tar.
	if err := os.Remove(path + ".json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("write layer: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return l, fmt.Errorf("write layer: %w", err)
	}
	if err := os.WriteFile(path+".json", body, 0o644); err != nil {
		return l, fmt.Errorf("write layer record: %w", err)
	}
	return l, nil
}

// fileLayer holds one executable. The tar depends on its path and content alone.
func fileLayer(cache, target, source string) (layer, error) {
	sum, err := hashFile(source)
	if err != nil {
		return layer{}, err
	}
	write := func(w io.Writer) error {
		if err := writeFileTar(w, target, source); err != nil {
			return fmt.Errorf("pack %s: %w", source, err)
		}
		return nil
	}
	return cachedLayer(cache, target+" "+sum, write)
}

func writeFileTar(w io.Writer, target, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	name := strings.TrimPrefix(target, "/")
	var dir string
	for part := range strings.SplitSeq(filepath.Dir(name), "/") {
		if part == "." {
			break
		}
		dir += part + "/"
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755,
		Size: info.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(tw, f); err != nil {
		return err
	}
	return tw.Close()
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// debianSuite is the release that root file systems are made of, and
// debianEpoch the time that all their files carry.
const (
	debianSuite = "bookworm"
	debianEpoch = "1700000000"
)

// debianLayer is a minimal Debian with these packages. It is made once for each
// list of packages, or when it is to be made anew.
func (b Builder) debianLayer(ctx context.Context, packages []string) (layer, error) {
	list := strings.Join(packages, ",")
	key := sha256.Sum256([]byte(debianSuite + " " + list))
	path := filepath.Join(b.dir("layers"), fmt.Sprintf("debian-%x.tar", key[:6]))
	if b.Refresh {
		if err := os.Remove(path + ".json"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return layer{}, fmt.Errorf("forget the old Debian root: %w", err)
		}
	}
	return cachedLayer(path, list, func(w io.Writer) error {
		fmt.Fprintf(b.Programs.Progress, "making a Debian root file system with %s\n", list)
		return writeDebian(ctx, w, list)
	})
}

// writeDebian writes the tar of a root file system. mmdebstrap sorts it, gives all files the epoch's time at most, and
// leaves out what tells of the making: logs, caches, the machine's name.
func writeDebian(ctx context.Context, w io.Writer, list string) error {
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant=minbase", "--format=tar", "--include="+list,
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		debianSuite, "-")
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+debianEpoch)
	cmd.Stdout = w
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make Debian root with mmdebstrap: %w\n%s", err, complaint.String())
	}
	return nil
}
