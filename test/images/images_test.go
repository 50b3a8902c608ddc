package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArchive reads an archive as docker and containerd do: from the index, and
// from the older manifest, to the same layers.
func TestArchive(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := fileLayer(filepath.Join(dir, "layer.tar"), "/usr/bin/program", program)
	if err != nil {
		t.Fatal(err)
	}
	definition := Image{Name: "x", Repository: "example.org/x", Entrypoint: []string{"/usr/bin/program"},
		Labels: map[string]string{"a": "b"}}
	write := func() []byte {
		a, err := newArchive(definition, definition.Reference("v1"), []layer{l})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := a.write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	body := write()
	if !bytes.Equal(body, write()) {
		t.Error("two archives of one image differ")
	}
	files := untar(t, body)
	for name, content := range files {
		if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok &&
			digest != fmt.Sprintf("%x", sha256.Sum256(content)) {
			t.Errorf("%s does not have that digest", name)
		}
	}
	var ix index
	var m manifest
	var config imageConfig
	var old []dockerManifest
	parse(t, files["index.json"], &ix)
	parse(t, files[blobPath(digestOf(ix.Manifests[0].Digest))], &m)
	parse(t, files[blobPath(digestOf(m.Config.Digest))], &config)
	parse(t, files["manifest.json"], &old)
	if got := ix.Manifests[0].Annotations["io.containerd.image.name"]; got != "example.org/x:v1" ||
		old[0].RepoTags[0] != got {
		t.Errorf("named %s and %s", got, old[0].RepoTags[0])
	}
	if old[0].Config != blobPath(digestOf(m.Config.Digest)) ||
		old[0].Layers[0] != blobPath(digestOf(m.Layers[0].Digest)) {
		t.Errorf("the manifests name different blobs: %+v, %+v", m, old)
	}
	if diff := cmp.Diff([]string{m.Layers[0].Digest}, config.RootFS.DiffIDs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(definition.Entrypoint, config.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	inside := untar(t, files[blobPath(digestOf(m.Layers[0].Digest))])
	if diff := cmp.Diff(map[string][]byte{"usr/": {}, "usr/bin/": {}, "usr/bin/program": []byte("content")},
		inside); diff != "" {
		t.Error(diff)
	}
}

func digestOf(s string) string { return strings.TrimPrefix(s, "sha256:") }

func parse(t *testing.T, body []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
}

func untar(t *testing.T, body []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(body))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name], err = io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLayerCache checks that a layer is made again when, and only when, its
// content changes, and after a write that was interrupted.
func TestLayerCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "layer.tar")
	made := 0
	get := func(key string, fail error) (layer, error) {
		return cachedLayer(path, key, func(w io.Writer) error {
			made++
			if _, err := io.WriteString(w, "content of "+key); err != nil {
				return err
			}
			return fail
		})
	}
	a, err := get("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := get("a", nil); err != nil || again != a || made != 1 {
		t.Errorf("the same layer: %+v, %v, made %d times", again, err, made)
	}
	broken := errors.New("broken")
	if _, err := get("b", broken); !errors.Is(err, broken) {
		t.Errorf("a failed layer: %v", err)
	}
	if again, err := get("a", nil); err != nil || again != a || made != 2 {
		t.Errorf("after a failure: %+v, %v, made %d times", again, err, made)
	}
	b, err := get("b", nil)
	if err != nil || b.Digest == a.Digest || b.Size != int64(len("content of b")) || made != 3 {
		t.Errorf("another layer: %+v, %v, made %d times", b, err, made)
	}
}

func TestDefinitions(t *testing.T) {
	var names []string
	for _, i := range Definitions {
		names = append(names, i.Name)
		if len(i.Files) == 0 || len(i.Entrypoint) == 0 {
			t.Errorf("image %s: nothing to run", i.Name)
		}
		if !slices.ContainsFunc(i.Files, func(f File) bool { return f.Path == i.Entrypoint[0] }) {
			t.Errorf("image %s does not hold its entrypoint %s", i.Name, i.Entrypoint[0])
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(Definitions) {
		t.Errorf("a name occurs twice: %v", names)
	}
	if i, _ := Find("node"); i.Reference("v1") != "ghcr.io/maneki-net/node:v1" {
		t.Errorf("node is %s", i.Reference("v1"))
	}
	if i, _ := Find("pause"); i.Reference("v1") != "registry.k8s.io/pause:3.10.2" {
		t.Errorf("pause is %s", i.Reference("v1"))
	}
}
