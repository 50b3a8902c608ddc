// Package images builds container images without a container engine: OCI
// archives that docker and containerd load.
//
// It owns the definitions of all images of the product and of its tests, and
// the checkout's .cache/images and .cache/layers. It never pushes, and never
// runs what it packs. Beside each archive is a bill of materials. One commit, one toolchain and one state of Debian
// give one digest, on any machine and in any folder. Layers are cached: rebuilding a program rewrites that program's
// layer alone. Build is called by the image command and by the test cluster; an image is built by one process at a
// time.
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
	// Refresh makes root file systems of Debian anew, with the packages that its mirror has now.
	Refresh bool
}

// Archive is a built image.
type Archive struct {
	// Path is the archive's file.
	Path string
	// Reference is the image's name with its tag.
	Reference string
	// ID is the digest of the image's manifest, SHA-256 in hexadecimal.
	ID string
	// BOM is the file that says what the image is made of, as CycloneDX.
	BOM string
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
	parts, err := b.parts(ctx, i)
	if err != nil {
		return Archive{}, err
	}
	a, err := newArchive(i, i.Reference(b.Version), parts.layers)
	if err != nil {
		return Archive{}, err
	}
	// The manifest is the second document, after the configuration.
	result := Archive{
		Path:      filepath.Join(b.dir("images"), i.Name+".tar"),
		Reference: i.Reference(b.Version),
		ID:        filepath.Base(a.documents[1].name),
		BOM:       filepath.Join(b.dir("images"), i.Name+".cdx.json"),
	}
	mark := result.Reference + " " + result.ID
	have, err := os.ReadFile(result.Path + ".id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return result, fmt.Errorf("read mark of archive: %w", err)
	}
	if string(have) == mark {
		return result, nil
	}
	if err := writeBOM(i, result, parts); err != nil {
		return result, fmt.Errorf("write bill of materials: %w", err)
	}
	if err := a.writeTo(result.Path); err != nil {
		return result, err
	}
	return result, os.WriteFile(result.Path+".id", []byte(mark), 0o644)
}

// parts are what an image is made of.
type parts struct {
	layers []layer
	// debian is the first layer, if the image has packages.
	debian *layer
	// programs are files on this machine.
	programs []string
}

func (b Builder) parts(ctx context.Context, i Image) (parts, error) {
	var p parts
	cache := b.dir("layers")
	if len(i.Debian) > 0 {
		l, err := b.debianLayer(ctx, i.Debian)
		if err != nil {
			return p, err
		}
		p.layers, p.debian = append(p.layers, l), &l
	}
	for _, f := range i.Files {
		source, err := b.program(ctx, f.Program)
		if err != nil {
			return p, err
		}
		l, err := fileLayer(filepath.Join(cache, i.Name+"-"+filepath.Base(f.Path)+".tar"), f.Path, source)
		if err != nil {
			return p, err
		}
		p.layers, p.programs = append(p.layers, l), append(p.programs, source)
	}
	return p, nil
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
