package effects_test

import (
	"go/types"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/api/effects"
)

// readAllTheSame are fields without effect that the code reads, with the reason. In kinds and paths, * is any text and
// ? any character.
var readAllTheSame = []struct{ kind, path, reason string }{
	{"Staged*", "spec*", "the types are those of policies; staged ones are compiled, so that one that cannot be " +
		"used is named"},
	{"BGPConfiguration", "spec.nodeMeshPassword*", "no session of the mesh is opened"},
	{"BGPPeer", "spec.password*", "no session is opened"},
	{"BGPPeer", "spec.localWorkloadSelector", "no session is opened"},
	{"BGPFilter", "spec.*portV?[].interface", "the rule is left out, or rejects regardless"},
	{"BGPFilter", "spec.*portV?[].priority", "the rule is left out, or rejects regardless"},
	{"*", "spec.*gress[].http", "the rule matches nothing, or denies whatever the request"},
	{"IPPool", "spec.allowedUses[]", "items are of the same Go field as the list, and those that are served work"},
	{"IPPool", "spec.ipipMode", "the calculation names it to nodes"},
	{"Node", "spec.wireguard*", "addresses of a node are in expectedIPs of its host endpoint"},
	{"Node", "status.wireguardPublicKey*", "api/derive makes annotations of it, which nobody reads"},
	{"ClusterInformation", "spec.datastoreReady", "an object that lacks it gets it"},
}

// TestEffectsOfFields: a field that works is read, or written if a program writes it; one without effect is not read.
func TestEffectsOfFields(t *testing.T) {
	c := theCode(t)
	byKind := map[string]map[string]string{}
	used := map[int]bool{}
	for _, row := range effects.Rows(effects.Field) {
		if row.On == "FelixConfiguration" && row.Name != "spec.nodeSelector" {
			continue // TestEffectsOfSettings
		}
		if byKind[row.On] == nil {
			byKind[row.On] = c.paths(row.On)
		}
		field := fieldAt(byKind[row.On], row.Name)
		u := c.use(field)
		switch {
		case field == "":
			t.Errorf("api/v3 has no field %s of %s", row.Name, row.On)
		case strings.HasPrefix(row.Name, "status.runningConfig."): // it is spec, copied as a whole
		case row.State == effects.Works && len(u.read)+len(u.written) == 0:
			t.Errorf("%s of %s is said to work, and nothing uses %s", row.Name, row.On, field)
		case row.State != effects.Works:
			i := slices.IndexFunc(readAllTheSame, func(x struct{ kind, path, reason string }) bool {
				return matches(x.kind, row.On) && matches(x.path, row.Name)
			})
			switch {
			case i >= 0:
				used[i] = used[i] || len(u.read) > 0
			case len(u.read) > 0:
				t.Errorf("%s of %s is said to have no effect, and %s is read by %s: "+
					"change its row, or say here why not",
					row.Name, row.On, field, slices.Compact(slices.Sorted(slices.Values(u.read))))
			}
		}
	}
	for i, isRead := range used {
		if !isRead {
			t.Errorf("nothing reads %s %s any more", readAllTheSame[i].kind, readAllTheSame[i].path)
		}
	}
}

func matches(pattern, name string) bool {
	ok, err := path.Match(strings.NewReplacer("[", `\[`, "]", `\]`).Replace(pattern), name)
	return ok && err == nil
}

// fieldAt returns the field of a path, or of what it is within where that is of a type of Kubernetes.
func fieldAt(fields map[string]string, path string) string {
	for path != "" && fields[path] == "" {
		path = path[:max(0, strings.LastIndexAny(path, ".[{"))]
	}
	return fields[path]
}

// paths returns, for each path of a kind, the field of a Go type that it is: "spec.cidr" is "IPPoolSpec.CIDR".
func (c *code) paths(kind string) map[string]string {
	found := map[string]string{}
	addPaths(found, "", kind, c.api.Scope().Lookup(kind).Type().Underlying().(*types.Struct))
	return found
}

func addPaths(found map[string]string, at, owner string, s *types.Struct) {
	for i := range s.NumFields() {
		name := jsonName(s.Tag(i))
		path := strings.TrimPrefix(at+"."+name, ".")
		switch {
		case at == "" && name != "spec" && name != "status", name == "" && !s.Field(i).Embedded():
			continue
		case name == "":
			path = at
		default:
			found[path] = owner + "." + s.Field(i).Name()
		}
		addWithin(found, path, found[path], s.Field(i).Type())
	}
}

// addWithin adds what is within a field: items of lists, values of maps and fields of structs.
func addWithin(found map[string]string, path, field string, of types.Type) {
	switch u := of.Underlying().(type) {
	case *types.Pointer:
		addWithin(found, path, field, u.Elem())
	case *types.Slice:
		found[path+"[]"] = field
		addWithin(found, path+"[]", field, u.Elem())
	case *types.Map:
		found[path+"{}"] = field
		addWithin(found, path+"{}", field, u.Elem())
	case *types.Struct:
		if named, ok := types.Unalias(of).(*types.Named); ok && named.Obj().Pkg().Path() == apiPackage {
			addPaths(found, path, named.Obj().Name(), u)
		}
	}
}

// jsonName returns the name of a field in JSON; an embedded one has none.
func jsonName(tag string) string {
	_, rest, _ := strings.Cut(tag, `json:"`)
	name, _, _ := strings.Cut(rest, `"`)
	name, _, _ = strings.Cut(name, ",")
	return name
}
