package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Names of the files that Files writes.
const (
	TrustedFile = "ca.crt"
	PairFile    = "tls.pem" // certificate and key in one file, so that both change at once
)

// Files returns a Certificate.Use that writes the certificate into an existing directory.
func Files(dir string) func(context.Context, Issued) error {
	return func(_ context.Context, issued Issued) error {
		return errors.Join(
			replace(filepath.Join(dir, TrustedFile), issued.Trusted),
			replace(filepath.Join(dir, PairFile), slices.Concat(issued.Cert, issued.Key)))
	}
}

// replace writes a file atomically: no reader sees a part of it.
func replace(file string, content []byte) error {
	have, err := os.ReadFile(file)
	if err == nil && bytes.Equal(have, content) {
		return nil
	}
	unfinished := file + ".new"
	if err := os.WriteFile(unfinished, content, 0o600); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	if err := os.Rename(unfinished, file); err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return nil
}
