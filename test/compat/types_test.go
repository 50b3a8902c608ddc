// Package compat compares Maneki with Calico's public Go modules: its API types and its selector library.
//
// It holds tests and benchmarks only, and is a module of its own so that nothing else depends on those modules. The
// types are those of github.com/projectcalico/api and, for kinds that users do not write, of
// github.com/projectcalico/calico/libcalico-go.
package compat

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	public "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	internal "github.com/projectcalico/calico/libcalico-go/lib/apis/v3"

	v3 "github.com/maneki-net/maneki/api/v3"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random objects")

// objectsPerKind is how many random objects of a kind go each way.
const objectsPerKind = 300

// kinds are those that the public modules have: their type and ours.
var kinds = map[string][2]any{
	"BGPConfiguration":             {public.BGPConfiguration{}, v3.BGPConfiguration{}},
	"BGPFilter":                    {public.BGPFilter{}, v3.BGPFilter{}},
	"BGPPeer":                      {public.BGPPeer{}, v3.BGPPeer{}},
	"BlockAffinity":                {public.BlockAffinity{}, v3.BlockAffinity{}},
	"CalicoNodeStatus":             {public.CalicoNodeStatus{}, v3.CalicoNodeStatus{}},
	"ClusterInformation":           {public.ClusterInformation{}, v3.ClusterInformation{}},
	"FelixConfiguration":           {public.FelixConfiguration{}, v3.FelixConfiguration{}},
	"GlobalNetworkPolicy":          {public.GlobalNetworkPolicy{}, v3.GlobalNetworkPolicy{}},
	"GlobalNetworkSet":             {public.GlobalNetworkSet{}, v3.GlobalNetworkSet{}},
	"HostEndpoint":                 {public.HostEndpoint{}, v3.HostEndpoint{}},
	"IPAMBlock":                    {internal.IPAMBlock{}, v3.IPAMBlock{}},
	"IPAMConfiguration":            {public.IPAMConfiguration{}, v3.IPAMConfiguration{}},
	"IPAMHandle":                   {internal.IPAMHandle{}, v3.IPAMHandle{}},
	"IPPool":                       {public.IPPool{}, v3.IPPool{}},
	"IPReservation":                {public.IPReservation{}, v3.IPReservation{}},
	"KubeControllersConfiguration": {public.KubeControllersConfiguration{}, v3.KubeControllersConfiguration{}},
	"NetworkPolicy":                {public.NetworkPolicy{}, v3.NetworkPolicy{}},
	"NetworkSet":                   {public.NetworkSet{}, v3.NetworkSet{}},
	"Node":                         {internal.Node{}, v3.Node{}},
	"Profile":                      {public.Profile{}, v3.Profile{}},
	"WorkloadEndpoint":             {internal.WorkloadEndpoint{}, v3.WorkloadEndpoint{}},
}

// differences are fields that do not survive although both sides have them, or that only theirs has, with the reason.
// What only ours has needs none if Calico's field table has it: Calico added it after that version of its module.
var differences = map[string]string{
	"BGPConfiguration spec.listenPort": "a 0, which is no port, is dropped by the public type",
	"BlockAffinity spec.deleted": "the CRD requires it, so ours writes it when it is " +
		"false",
	"FelixConfiguration spec.bpfKubeProxyEndpointSlicesEnabled": "Calico removed it",
	"FelixConfiguration spec.iptablesLockFilePath":              "Calico removed it",
	"FelixConfiguration spec.iptablesLockTimeout":               "Calico removed it",
	"IPAMBlock spec.deleted":                                    "false says as little as its absence",
	"IPAMBlock spec.sequenceNumber":                             "0 is also the CRD's default",
	"IPPool spec.ipip.enabled": "for conversion from the API before v3 only: " +
		"Calico's CRD has it no more",
	"IPPool spec.ipip.mode": "for conversion from the API before v3 only: " +
		"Calico's CRD has it no more",
	"IPPool spec.nat-outgoing": "for conversion from the API before v3 only: " +
		"Calico's CRD has it no more",
	"WorkloadEndpoint spec.ports[].hostPort": "0 is no port: ours does not write it",
}

// fieldsFile is Calico's field table.
const fieldsFile = "../../api/crds/testdata/fields.tsv"

// TestKinds finds every kind of the public modules in the list.
func TestKinds(t *testing.T) {
	for _, object := range public.AllKnownTypes {
		name := reflect.TypeOf(object).Elem().Name()
		if _, ok := kinds[name]; !ok && !strings.HasSuffix(name, "List") {
			t.Errorf("kind %s is not compared", name)
		}
	}
}

// TestTypes sends random objects through both types, both ways, and compares the JSON.
func TestTypes(t *testing.T) {
	t.Logf("-seed=%d", *seed)
	f := filler{rand.New(rand.NewPCG(*seed, 1))}
	fields := readFields(t)
	used, newer := map[string]bool{}, map[string]bool{}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		theirs := reflect.TypeOf(kinds[kind][0])
		for from := range 2 {
			for range objectsPerKind {
				send(t, f, kind, from, func(path, what string) {
					field := kind + " " + strings.ReplaceAll(path, ".key", "{}")
					switch {
					case differences[field] != "":
						used[field] = true
					case what == "" && fields[field] && !hasField(theirs, path):
						newer[field] = true
					default:
						t.Errorf("%s: the JSON differs %s", field, what)
					}
				})
			}
		}
	}
	for field := range differences {
		if !used[field] {
			t.Errorf("%s: no such difference any more", field)
		}
	}
	t.Logf("%d kinds, %d objects each way: equal JSON, but for %d fields with a reason and %d that the public types "+
		"lack:\n%s", len(kinds),
		objectsPerKind, len(used), len(newer), strings.Join(slices.Sorted(maps.Keys(newer)), "\n"))
}

// send makes an object of one type, lets the other read and write it, and reports what differs then: the field, and how
// its value changed or nothing if it is on one side only.
func send(t *testing.T, f filler, kind string, from int, report func(path, what string)) {
	t.Helper()
	sent, received := reflect.New(reflect.TypeOf(kinds[kind][from])).Interface(),
		reflect.New(reflect.TypeOf(kinds[kind][1-from])).Interface()
	f.object(sent, kind)
	before := encode(t, sent)
	if err := json.Unmarshal(before, received); err != nil {
		t.Fatalf("%s: a %T cannot be read as %T: %v\n%s", kind, sent, received, err, before)
	}
	compare(decode(t, before), decode(t, encode(t, received)), "", report)
}

// readFields gives the kinds and paths of the field table.
func readFields(t *testing.T) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(fieldsFile)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	for line := range strings.SplitSeq(string(content), "\n") {
		if cells := strings.Split(line, "\t"); len(cells) > 1 {
			fields[cells[0]+" "+cells[1]] = true
		}
	}
	return fields
}

// hasField says whether a type has a field at a path of JSON names.
func hasField(t reflect.Type, path string) bool {
	for name := range strings.SplitSeq(strings.ReplaceAll(path, "[]", ""), ".") {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() == reflect.Map {
			t = t.Elem()
			continue
		}
		found := false
		for _, field := range reflect.VisibleFields(t) {
			if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag == name {
				t, found = field.Type, true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func encode(t *testing.T, object any) []byte {
	t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// compare reports fields that are lost or added between two values, and values that changed. Null, an empty string and
// an object without fields say as little as an absent field.
func compare(before, after any, path string, report func(path, what string)) {
	before, after = orNil(before), orNil(after)
	b, object := before.(map[string]any)
	a, objectAfter := after.(map[string]any)
	list, isList := before.([]any)
	listAfter, _ := after.([]any)
	switch {
	case (object || before == nil) && (objectAfter || after == nil):
		for name := range maps.Keys(b) {
			compare(b[name], a[name], join(path, name), report)
		}
		for name := range maps.Keys(a) {
			if _, ok := b[name]; !ok {
				compare(nil, a[name], join(path, name), report)
			}
		}
	case before == nil || after == nil:
		report(path, "")
	case isList && len(list) == len(listAfter):
		for i := range list {
			compare(list[i], listAfter[i], path+"[]", report)
		}
	case !reflect.DeepEqual(before, after):
		report(path, fmt.Sprintf("%v becomes %v", before, after))
	}
}

func orNil(value any) any {
	if value == "" {
		return nil
	}
	return value
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }
