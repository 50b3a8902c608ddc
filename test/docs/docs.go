// Package docs runs what the documentation tells a reader to type.
//
// A fenced block marked sh in README.md or docs/ is a script: it must succeed, run in the
// checkout with kubectl, calicoctl and helm at hand and KUBECONFIG set to a cluster that
// Maneki is installed in. Blocks marked text are shown and not run, but a make target
// they name must exist. The package only reads; the cluster tests execute.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Block is one fenced block.
type Block struct {
	File string // relative to the checkout
	Line int    // of the first line inside, from 1
	Info string // the word after the fence
	Text string
}

// Blocks reads the fenced blocks of README.md, CONTRIBUTING.md and every page below docs/.
func Blocks(root string) ([]Block, error) {
	var blocks []Block
	files := []string{"README.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".md") {
			relative, _ := filepath.Rel(root, path) // path is below root
			files = append(files, relative)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list documentation: %w", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, fmt.Errorf("read documentation: %w", err)
		}
		found, err := parse(file, string(data))
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, found...)
	}
	return blocks, nil
}

func parse(file, text string) ([]Block, error) {
	var blocks []Block
	var open *Block
	for i, line := range strings.Split(text, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &Block{File: file, Line: i + 2, Info: strings.TrimSpace(info)}
		case fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s:%d: the fenced block is not closed", file, open.Line)
	}
	return blocks, nil
}

var makeCommand = regexp.MustCompile(`(?m)^\s*make((?: +[a-z][a-z-]*)+)`)

// MakeTargets lists the make targets that a text tells the reader to run.
func MakeTargets(text string) []string {
	var targets []string
	for _, m := range makeCommand.FindAllStringSubmatch(text, -1) {
		targets = append(targets, strings.Fields(m[1])...)
	}
	return targets
}
