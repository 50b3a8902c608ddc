package structure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// smallTypes are the folders in which a type has at most maxFields fields and maxMethods methods.
var smallTypes = []string{"typha/auth", "typha/balance", "typha/hub", "typha/transport"}

const maxFields, maxMethods = 15, 40

func TestTypesStaySmall(t *testing.T) {
	for _, folder := range smallTypes {
		fields, methods := map[string]int{}, map[string]int{}
		for _, file := range sources(t, folder) {
			for _, d := range file.Decls {
				switch d := d.(type) {
				case *ast.GenDecl:
					countFields(d, fields)
				case *ast.FuncDecl:
					if d.Recv != nil {
						methods[receiver(d.Recv.List[0].Type)]++
					}
				}
			}
		}
		if len(fields) == 0 || len(methods) == 0 {
			t.Errorf("%s has no types", folder)
		}
		for name, n := range fields {
			if n > maxFields {
				t.Errorf("%s.%s has %d fields, at most %d are allowed", folder, name, n, maxFields)
			}
		}
		for name, n := range methods {
			if n > maxMethods {
				t.Errorf("%s.%s has %d methods, at most %d are allowed", folder, name, n, maxMethods)
			}
		}
	}
}

// sources parses the files of a package, but for its tests.
func sources(t *testing.T, folder string) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("../..", folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatal(fs.ErrNotExist, folder)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// countFields counts the fields of the structs of a declaration, by the name of the type. An embedded field counts as
// one.
func countFields(d *ast.GenDecl, fields map[string]int) {
	for _, spec := range d.Specs {
		named, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		structure, ok := named.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range structure.Fields.List {
			fields[named.Name.Name] += max(1, len(f.Names))
		}
	}
}

// receiver returns the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
