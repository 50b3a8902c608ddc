package config

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/maneki-net/maneki/api/effects"
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

// WriteDoc writes the Table in Markdown, and then Calico's other settings.
func WriteDoc(w io.Writer) error {
	if err := writeTable(w); err != nil {
		return err
	}
	return writeWithoutEffect(w)
}

// writeWithoutEffect writes the settings that have no effect, with the reason.
func writeWithoutEffect(w io.Writer) error {
	const head = `
## Settings without effect

Calico's other settings are accepted, and have no effect, or none yet. Felix logs each that is set, unless it has a
value of the third column, which asks for nothing that is missing.

| setting | effect | except | why |
|---|---|---|---|
`
	if _, err := fmt.Fprint(w, head); err != nil {
		return err
	}
	for _, row := range effects.Rows(effects.Setting) {
		if row.State == effects.Works {
			continue
		}
		if _, err := fmt.Fprintln(w, row.Markdown("`"+row.Name+"`")); err != nil {
			return err
		}
	}
	return nil
}

func writeTable(w io.Writer) error {
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
