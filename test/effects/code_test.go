// Package effects_test compares the table of effects (api/effects) with the code of the product: what works is read
// somewhere, and what has no effect is not.
package effects_test

import (
	"go/ast"
	"go/constant"
	"go/types"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/go/packages"
)

const (
	module     = "github.com/maneki-net/maneki/"
	apiPackage = module + "api/v3"
	settings   = module + "felix/config"
)

// passedOn are the folders whose use of a field makes nothing of it: they say what may be in it, or pass it on.
var passedOn = []string{"api/v3", "api/validate", "api/effects", "api/schema", "api/crds", "api/defaults",
	"calicoctl", "datastore/storetest", "test"}

// code is the source of the product with its types.
type code struct {
	api      *types.Package
	packages []*packages.Package // but those of passedOn
	texts    map[string]bool     // constant strings but those of api/effects and of tests
	uses     map[string]*use     // of fields of api/v3 and felix/config, by struct and field: "IPPoolSpec.CIDR"
	err      error
}

// use is which packages read and write a field.
type use struct{ read, written []string }

// load reads the code once for all tests.
var load = sync.OnceValue(func() *code {
	c := &code{uses: map[string]*use{}, texts: map[string]bool{}}
	const mode = packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedSyntax |
		packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedExportFile
	var all []*packages.Package
	all, c.err = packages.Load(&packages.Config{Mode: mode, Dir: "../.."}, "./...")
	for _, p := range all {
		for _, e := range p.Errors {
			c.err = e
		}
		if p.PkgPath == apiPackage {
			c.api = p.Types
		}
		path := strings.TrimPrefix(p.PkgPath, module) + "/"
		in := func(folder string) bool { return strings.HasPrefix(path, folder+"/") }
		if !slices.ContainsFunc(passedOn, in) {
			c.packages = append(c.packages, p)
			c.addUses(p)
		}
		if !in("test") && !in("api/effects") && !in("datastore/storetest") {
			c.addTexts(p)
		}
	}
	return c
})

func (c *code) addTexts(p *packages.Package) {
	for _, e := range p.TypesInfo.Types {
		if e.Value != nil && e.Value.Kind() == constant.String {
			c.texts[constant.StringVal(e.Value)] = true
		}
	}
}

func theCode(t *testing.T) *code {
	t.Helper()
	c := load()
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c
}

// addUses adds what a package reads and writes. A key in a literal, and what stands left of an assignment, is written.
func (c *code) addUses(p *packages.Package) {
	owners := map[*types.Package]map[*types.Var]string{}
	note := func(o types.Object, written bool) {
		field, ok := o.(*types.Var)
		if !ok || !field.IsField() || field.Pkg() == nil || field.Pkg().Path() != apiPackage &&
			field.Pkg().Path() != settings {
			return
		}
		if owners[field.Pkg()] == nil {
			owners[field.Pkg()] = fieldsOf(field.Pkg())
		}
		key := owners[field.Pkg()][field] + "." + field.Name()
		if c.uses[key] == nil {
			c.uses[key] = &use{}
		}
		by := &c.uses[key].read
		if written {
			by = &c.uses[key].written
		}
		*by = append(*by, strings.TrimPrefix(p.PkgPath, module))
	}
	for _, file := range p.Syntax {
		written := map[ast.Expr]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					written[left] = true
				}
			case *ast.KeyValueExpr:
				if name, ok := n.Key.(*ast.Ident); ok {
					note(p.TypesInfo.Uses[name], true)
				}
			case *ast.SelectorExpr:
				if s := p.TypesInfo.Selections[n]; s != nil && s.Kind() == types.FieldVal {
					note(s.Obj(), written[n])
				}
			}
			return true
		})
	}
}

// fieldsOf returns the name of the struct that has a field.
func fieldsOf(p *types.Package) map[*types.Var]string {
	owners := map[*types.Var]string{}
	for _, name := range p.Scope().Names() {
		if s, ok := p.Scope().Lookup(name).Type().Underlying().(*types.Struct); ok {
			for f := range s.Fields() {
				owners[f] = name
			}
		}
	}
	return owners
}

func (c *code) use(field string) *use {
	if u := c.uses[field]; u != nil {
		return u
	}
	return &use{}
}
