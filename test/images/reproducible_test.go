package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"

	"github.com/maneki-net/maneki/test/build"
	"github.com/maneki-net/maneki/test/long"
)

// checkout copies the module, without what was built in it, into a folder of its own. The times of its files are other
// ones.
func checkout(t *testing.T) build.Builder {
	t.Helper()
	here, err := build.Here(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(t.TempDir(), "elsewhere")
	if err := filepath.WalkDir(here.Root, func(path string, d fs.DirEntry, err error) error {
		name, relative := filepath.Rel(here.Root, path)
		switch {
		case err != nil || relative != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || name == "docs" || name == "hack"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(there, name), 0o755)
		case !d.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(there, name), content, 0o644)
	}); err != nil {
		t.Fatal(err)
	}
	return build.Builder{Root: there, Progress: io.Discard}
}

// TestReproducible: an image that is built again somewhere else has the same digest, and the same bill of materials,
// which has the modules of its program.
func TestReproducible(t *testing.T) {
	built := map[string]bool{}
	for range 2 {
		archives, err := Builder{Programs: checkout(t), Version: "v1"}.Build(t.Context(), "ctl")
		if err != nil {
			t.Fatal(err)
		}
		bom, err := os.ReadFile(archives[0].BOM)
		if err != nil {
			t.Fatal(err)
		}
		checkBOM(t, bom, archives[0].ID, "pkg:golang/k8s.io/client-go@v", "pkg:golang/stdlib@1.",
			"pkg:golang/github.com/maneki-net/maneki@")
		built[archives[0].ID+string(bom)] = true
	}
	if len(built) != 1 {
		t.Errorf("two builds differ: %v", built)
	}
}

func checkBOM(t *testing.T, text []byte, digest string, purls ...string) {
	t.Helper()
	var bom cyclonedx.BOM
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	if hashes := bom.Metadata.Component.Hashes; hashes == nil || (*hashes)[0].Value != digest {
		t.Errorf("it is about %+v, want %s", bom.Metadata.Component, digest)
	}
	for _, purl := range purls {
		if !slices.ContainsFunc(*bom.Components,
			func(c cyclonedx.Component) bool { return strings.HasPrefix(c.PackageURL, purl) }) {
			t.Errorf("it lacks %s among %d components", purl, len(*bom.Components))
		}
	}
}

// TestPackagesOfDebian: those that are installed, from dpkg's status in a root file system.
func TestPackagesOfDebian(t *testing.T) {
	status := "Package: ipset\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.17-1\nDescription: " +
		"sets\n Package: none\n\n" +
		"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: libc6\nStatus: install ok " +
		"installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n"
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	for _, name := range []string{"./etc/hostname", "./var/lib/dpkg/status"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(status)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, status); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "debian.tar")
	if err := os.WriteFile(path, root.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	found := map[string]cyclonedx.Component{}
	if err := addPackages(found, layer{path: path}); err != nil {
		t.Fatal(err)
	}
	for _, purl := range []string{"pkg:deb/debian/ipset@7.17-1?arch=amd64&distro=bookworm",
		"pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=bookworm"} {
		if _, listed := found[purl]; !listed || len(found) != 2 {
			t.Errorf("found are %v, want %s", found, purl)
		}
	}
}

// TestDebianIsReproducible makes the root file system of calico-node twice, in make test-long: it downloads.
func TestDebianIsReproducible(t *testing.T) {
	node, _ := Find("node")
	var digests []string
	for range long.Or(2, 0) {
		b := Builder{Programs: build.Builder{Root: t.TempDir(), Progress: io.Discard}}
		l, err := b.debianLayer(t.Context(), node.Debian)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, l.Digest)
	}
	if len(slices.Compact(slices.Clone(digests))) > 1 {
		t.Errorf("two builds differ: %v", digests)
	}
}
