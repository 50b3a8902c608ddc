package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// The subset of the OCI image specification, and of the older archive of "docker
// save", that an archive needs. Both describe the same blobs, so that old and new
// versions of docker, and containerd, load it.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	index struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	imageConfig struct {
		Created      string     `json:"created"`
		Architecture string     `json:"architecture"`
		OS           string     `json:"os"`
		Config       execConfig `json:"config"`
		RootFS       rootFS     `json:"rootfs"`
	}
	execConfig struct {
		Env        []string          `json:"Env,omitempty"`
		Entrypoint []string          `json:"Entrypoint,omitempty"`
		Cmd        []string          `json:"Cmd,omitempty"`
		WorkingDir string            `json:"WorkingDir,omitempty"`
		Labels     map[string]string `json:"Labels,omitempty"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	dockerManifest struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
)

const (
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"

	imagePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// document is a small file of an archive.
type document struct {
	name string
	body []byte
}

// archive is an image ready to be written.
type archive struct {
	documents []document
	layers    []layer
}

// newArchive lays the image out. It depends on its arguments alone.
func newArchive(i Image, reference string, layers []layer) (archive, error) {
	config := imageConfig{
		Created:      "2024-01-01T00:00:00Z",
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config: execConfig{Env: []string{imagePath}, Entrypoint: i.Entrypoint, Cmd: i.Cmd, WorkingDir: "/",
			Labels: i.Labels},
		RootFS: rootFS{Type: "layers"},
	}
	m := manifest{SchemaVersion: 2, MediaType: mediaManifest}
	docker := dockerManifest{RepoTags: []string{reference}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, "sha256:"+l.Digest)
		m.Layers = append(m.Layers, descriptor{MediaType: mediaLayer, Digest: "sha256:" + l.Digest, Size: l.Size})
		docker.Layers = append(docker.Layers, blobPath(l.Digest))
	}
	a := archive{layers: layers}
	var err error
	m.Config, err = a.blob(mediaConfig, config)
	if err != nil {
		return a, err
	}
	docker.Config = blobPath(m.Config.Digest[len("sha256:"):])
	top, err := a.blob(mediaManifest, m)
	if err != nil {
		return a, err
	}
	top.Annotations = map[string]string{
		"io.containerd.image.name":          reference,
		"org.opencontainers.image.ref.name": reference,
	}
	for _, d := range []struct {
		name string
		body any
	}{
		{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}},
		{"index.json", index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{top}}},
		{"manifest.json", []dockerManifest{docker}},
	} {
		body, err := json.Marshal(d.body)
		if err != nil {
			return a, fmt.Errorf("encode %s: %w", d.name, err)
		}
		a.documents = append(a.documents, document{d.name, body})
	}
	return a, nil
}

// blob adds a document under its digest.
func (a *archive) blob(mediaType string, v any) (descriptor, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	a.documents = append(a.documents, document{blobPath(digest), body})
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: int64(len(body))}, nil
}

func blobPath(digest string) string { return "blobs/sha256/" + digest }

func (a archive) write(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, d := range a.documents {
		if err := tw.WriteHeader(&tar.Header{Name: d.name, Mode: 0o644, Size: int64(len(d.body))}); err != nil {
			return err
		}
		if _, err := tw.Write(d.body); err != nil {
			return err
		}
	}
	for _, l := range a.layers {
		if err := l.copyTo(tw); err != nil {
			return err
		}
	}
	return tw.Close()
}

func (l layer) copyTo(tw *tar.Writer) error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := tw.WriteHeader(&tar.Header{Name: blobPath(l.Digest), Mode: 0o644, Size: l.Size}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// writeTo replaces the file at path.
func (a archive) writeTo(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make archive directory: %w", err)
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	defer f.Close()
	if err := a.write(f); err != nil {
		return fmt.Errorf("write archive %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}
