package images

import (
	"archive/tar"
	"bufio"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// writeBOM writes what an image is made of, as CycloneDX: the modules of its programs as the Go toolchain recorded
// them, and the packages of its Debian as dpkg did. It depends on these and the image's digest alone.
func writeBOM(i Image, a Archive, p parts) error {
	bom := cyclonedx.NewBOM()
	image := cyclonedx.Component{Type: cyclonedx.ComponentTypeContainer, BOMRef: "image", Name: i.Repository,
		Version: strings.TrimPrefix(a.Reference, i.Repository+":"),
		Hashes:  &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: a.ID}}}
	bom.Metadata = &cyclonedx.Metadata{Component: &image}
	found := map[string]cyclonedx.Component{}
	for _, program := range p.programs {
		if err := addModules(found, program); err != nil {
			return fmt.Errorf("list the modules of %s: %w", program, err)
		}
	}
	if p.debian != nil {
		if err := addPackages(found, *p.debian); err != nil {
			return fmt.Errorf("list the Debian packages: %w", err)
		}
	}
	var components []cyclonedx.Component
	for _, ref := range slices.Sorted(maps.Keys(found)) {
		components = append(components, found[ref])
	}
	bom.Components = &components
	f, err := os.Create(a.BOM)
	if err != nil {
		return err
	}
	encoder := cyclonedx.NewBOMEncoder(f, cyclonedx.BOMFileFormatJSON)
	return errors.Join(encoder.SetPretty(true).Encode(bom), f.Close())
}

// library is a component by its package URL (https://github.com/package-url/purl-spec).
func library(name, version, purl string) cyclonedx.Component {
	return cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, BOMRef: purl, Name: name, Version: version,
		PackageURL: purl}
}

func addModules(found map[string]cyclonedx.Component, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	add := func(path, version string) {
		purl := "pkg:golang/" + path + "@" + url.QueryEscape(version)
		found[purl] = library(path, version, purl)
	}
	add("stdlib", strings.TrimPrefix(info.GoVersion, "go"))
	add(info.Main.Path, info.Main.Version)
	for _, module := range info.Deps {
		for module.Replace != nil {
			module = module.Replace
		}
		add(module.Path, module.Version)
	}
	return nil
}

// addPackages reads dpkg's status file in the tar of a root file system.
func addPackages(found map[string]cyclonedx.Component, debian layer) error {
	f, err := os.Open(debian.path)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := tar.NewReader(f)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("there is no var/lib/dpkg/status")
		}
		if err != nil {
			return err
		}
		if filepath.Clean(header.Name) != "var/lib/dpkg/status" {
			continue
		}
		return eachPackage(archive, func(name, version, architecture string) {
			purl := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", name, url.QueryEscape(version), architecture,
				debianSuite)
			found[purl] = library(name, version, purl)
		})
	}
}

// eachPackage reads paragraphs of "Field: value" lines.
func eachPackage(status io.Reader, do func(name, version, architecture string)) error {
	fields := map[string]string{}
	end := func() {
		if fields["Status"] == "install ok installed" {
			do(fields["Package"], fields["Version"], fields["Architecture"])
		}
		clear(fields)
	}
	lines := bufio.NewScanner(status)
	lines.Buffer(nil, 1<<20) // descriptions are long
	for lines.Scan() {
		if lines.Text() == "" {
			end()
			continue
		}
		if name, value, ok := strings.Cut(lines.Text(), ": "); ok && !strings.HasPrefix(name, " ") {
			fields[name] = value
		}
	}
	end()
	return lines.Err()
}
