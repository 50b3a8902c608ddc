package config

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// DefaultFile is where the configuration file is, if there is one.
const DefaultFile = "/etc/calico/felix.cfg"

// ReadFile reads a configuration file: lines of "Name = value", sections in brackets and comments
// with # or ; being ignored. That there is no file is no error.
func ReadFile(path string) (Source, error) {
	s := Source{Name: path, Values: map[string]string{}}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read configuration file: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.ContainsRune("#;[", rune(line[0])) {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			return s, fmt.Errorf("read configuration file %s: line %d is not of the form Name = value", path, number)
		}
		s.Values[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	if err := lines.Err(); err != nil {
		return s, fmt.Errorf("read configuration file %s: %w", path, err)
	}
	return s, nil
}

// WriteDoc writes the Table in Markdown.
func WriteDoc(w io.Writer) error {
	if _, err := fmt.Fprint(w, "| setting | default | values | what it does |\n|---|---|---|---|\n"); err != nil {
		return err
	}
	for _, s := range Table {
		doc := s.Doc
		if s.Local {
			doc += " Environment or file only."
		}
		if s.AtStart {
			doc += " A change restarts Felix."
		}
		def := ""
		if s.Default != "" {
			def = "`" + strings.ReplaceAll(s.Default, "|", `\|`) + "`"
		}
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", s.Name, def, s.Values, doc); err != nil {
			return err
		}
	}
	return nil
}
