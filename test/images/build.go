// Package images builds container images without a container engine: OCI
// archives that docker and containerd load.
//
// It owns the definitions of all images of the product and of its tests, and
// the checkout's .cache/images and .cache/layers. It never pushes, and never
// runs what it packs. Layers are reproducible and cached: rebuilding a program
// rewrites that program's layer alone. Build is called by the image command and by
// the test cluster; an image is built by one process at a time.
package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/maneki-net/maneki/test/build"
)

// DefaultVersion is the tag of images that are built for trying out.
const DefaultVersion = "dev"

// Builder builds the images of one checkout.
type Builder struct {
	// Programs compiles what goes into the images.
	Programs build.Builder
	// Version is the tag of the product's images.
	Version string
}

// Archive is a built image.
type Archive struct {
	// Path is the archive's file.
	Path string
	// Reference is the image's name with its tag.
	Reference string
	// ID is the digest of the image's manifest.
	ID string
}

// Build builds the named images and returns their archives in that order.
func (b Builder) Build(ctx context.Context, names ...string) ([]Archive, error) {
	var archives []Archive
	for _, name := range names {
		i, ok := Find(name)
		if !ok {
			return nil, fmt.Errorf("image %s: not defined", name)
		}
		a, err := b.build(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		archives = append(archives, a)
	}
	return archives, nil
}

func (b Builder) build(ctx context.Context, i Image) (Archive, error) {
	unlock, err := b.lock(i)
	if err != nil {
		return Archive{}, err
	}
	defer unlock()
	layers, err := b.layers(ctx, i)
	if err != nil {
		return Archive{}, err
	}
	a, err := newArchive(i, i.Reference(b.Version), layers)
	if err != nil {
		return Archive{}, err
	}
	// The manifest is the second document, after the configuration.
	result := Archive{
		Path:      filepath.Join(b.dir("images"), i.Name+".tar"),
		Reference: i.Reference(b.Version),
		ID:        filepath.Base(a.documents[1].name),
	}
	mark := result.Reference + " " + result.ID
	have, err := os.ReadFile(result.Path + ".id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return result, fmt.Errorf("read mark of archive: %w", err)
	}
	if string(have) == mark {
		return result, nil
	}
	if err := a.writeTo(result.Path); err != nil {
		return result, err
	}
	return result, os.WriteFile(result.Path+".id", []byte(mark), 0o644)
}

func (b Builder) layers(ctx context.Context, i Image) ([]layer, error) {
	var layers []layer
	cache := b.dir("layers")
	if len(i.Debian) > 0 {
		l, err := debianLayer(ctx, cache, i.Debian, b.Programs.Progress)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	for _, f := range i.Files {
		source, err := b.program(ctx, f.Program)
		if err != nil {
			return nil, err
		}
		l, err := fileLayer(filepath.Join(cache, i.Name+"-"+filepath.Base(f.Path)+".tar"), f.Path, source)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

func (b Builder) program(ctx context.Context, p Program) (string, error) {
	if p.Package != "" {
		return b.Programs.Program(ctx, p.Package)
	}
	dir, err := b.Programs.Module(ctx, p.Module)
	return filepath.Join(dir, p.Name), err
}

func (b Builder) dir(name string) string {
	return filepath.Join(b.Programs.Root, ".cache", name)
}

// lock waits until no other process builds the image.
func (b Builder) lock(i Image) (unlock func(), err error) {
	if err := os.MkdirAll(b.dir("images"), 0o755); err != nil {
		return nil, fmt.Errorf("make image directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.dir("images"), i.Name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open image lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock image: %w", err)
	}
	return func() { f.Close() }, nil
}
