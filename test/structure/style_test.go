package structure

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxColumns is the length of the longest line. A tab counts as four columns.
const maxColumns = 120

// TestStyle checks what gofmt and staticcheck leave open: the length of lines, and that the header of an if or a switch
// changes nothing.
func TestStyle(t *testing.T) {
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasPrefix(entry.Name(), "zz_generated"):
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		checkLines(t, path, source)
		checkHeaders(t, path, source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkLines reports lines that are too long. Text between backquotes, preformatted comments and the markers of code
// generators, which begin with "+", cannot be wrapped.
func checkLines(t *testing.T, path string, source []byte) {
	files := token.NewFileSet()
	file := files.AddFile(path, files.Base(), len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, scanner.ScanComments)
	whole := map[int]bool{} // lines that cannot be wrapped
	for {
		pos, kind, text := s.Scan()
		if kind == token.EOF {
			break
		}
		if strings.HasPrefix(text, "`") || strings.HasPrefix(text, "// +") ||
			strings.HasPrefix(text, "//\t") || strings.HasPrefix(text, "//go:") {
			first := file.Line(pos)
			for line := range strings.Count(text, "\n") + 1 {
				whole[first+line] = true
			}
		}
	}
	for i, line := range strings.Split(string(source), "\n") {
		columns := utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
		if columns > maxColumns && !whole[i+1] {
			t.Errorf("%s:%d: %d columns, want at most %d", path, i+1, columns, maxColumns)
		}
	}
}

// checkHeaders reports statements with effects in headers: "if n--; n == 0" is two statements in one line.
func checkHeaders(t *testing.T, path string, source []byte) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		var first ast.Stmt
		switch n := n.(type) {
		case *ast.IfStmt:
			first = n.Init
		case *ast.SwitchStmt:
			first = n.Init
		}
		switch first := first.(type) {
		case nil:
			return true
		case *ast.AssignStmt:
			if first.Tok == token.DEFINE {
				return true
			}
		}
		t.Errorf("%s: a header that changes something: write the statement before it", files.Position(n.Pos()))
		return true
	})
}
